-- name: up
-- The measurements of each phase: inventory, fingerprints, baseline, backup, stalls, drills. A new table; no lock matters.
-- Each record names the database that it is about by its cluster and oid, which a rename keeps and a copy does not have.
CREATE FUNCTION migration.this_database() RETURNS text
LANGUAGE sql STABLE
RETURN (
    SELECT control.system_identifier || '/' || database.oid
    FROM pg_control_system() AS control, pg_database AS database
    WHERE database.datname = current_database()
);

CREATE TABLE migration.evidence (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,
    plan_hash text,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    dagster_run_id text,
    content jsonb NOT NULL,
    database text NOT NULL DEFAULT migration.this_database(),
    database_name text NOT NULL DEFAULT current_database()
);
CREATE INDEX evidence_by_kind ON migration.evidence (kind, id DESC);

-- name: down
-- Removes the evidence of this migration.
DROP TABLE migration.evidence;
DROP FUNCTION migration.this_database();
