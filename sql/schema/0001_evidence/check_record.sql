-- name: up
-- The latest evaluation of each asset check on this database. A new table; no lock matters.
CREATE TABLE migration.check_record (
    asset text NOT NULL,
    name text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    passed boolean NOT NULL,
    warns boolean NOT NULL,
    message text NOT NULL,
    database text NOT NULL DEFAULT migration.this_database(),
    dagster_run_id text,
    PRIMARY KEY (asset, name)
);

-- name: down
-- Removes the evaluations of the checks.
DROP TABLE migration.check_record;
