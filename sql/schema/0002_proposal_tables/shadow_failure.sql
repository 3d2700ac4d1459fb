-- name: up
-- Extractions whose direct result was written but whose proposals were not: what was extracted and the error, until it is
-- repaired. A new table; no lock matters.
CREATE TABLE migration.shadow_failure (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    failed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    extraction_run_id uuid,
    process text NOT NULL,
    sqlstate text,
    reason text NOT NULL,
    content jsonb NOT NULL,
    repaired_at timestamptz
);
CREATE INDEX shadow_failure_open ON migration.shadow_failure (id) WHERE repaired_at IS NULL;

-- name: down
-- Removes the list of failed shadow writes.
DROP TABLE migration.shadow_failure;
