-- name: up
-- The measurements of each phase: inventory, fingerprints, baseline, backup, stalls, drills. A new table; no lock matters.
CREATE TABLE migration.evidence (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,
    plan_hash text,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    dagster_run_id text,
    content jsonb NOT NULL
);
CREATE INDEX evidence_by_kind ON migration.evidence (kind, id DESC);

-- name: down
-- Removes the evidence of this migration.
DROP TABLE migration.evidence;
