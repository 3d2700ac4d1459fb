-- name: up
-- The operator's controls of the backfill: one row; NULL means the value of the settings. A new table; no lock matters.
CREATE TABLE migration.backfill_control (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    paused boolean NOT NULL DEFAULT false,
    batch_size integer CHECK (batch_size BETWEEN 1 AND 50000),
    rate_limit_per_second double precision CHECK (rate_limit_per_second >= 0),
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_by text NOT NULL DEFAULT 'migration'
);
INSERT INTO migration.backfill_control DEFAULT VALUES;

-- name: down
-- Removes the controls of the backfill.
DROP TABLE migration.backfill_control;
