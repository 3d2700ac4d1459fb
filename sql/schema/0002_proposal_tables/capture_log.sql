-- name: up
-- The statements of other sessions that the capture has worked on: how many rows it linked, or why it could not, until a sweep
-- has linked them. The version (xmin) of an entry is that of the rows it linked, as in the ledger of the backfill. A new table;
-- no lock matters.
CREATE TABLE migration.capture_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    entity text NOT NULL,
    operation text NOT NULL,
    linked_rows bigint NOT NULL DEFAULT 0,
    sqlstate text,
    reason text,
    swept_at timestamptz
);
CREATE INDEX capture_log_failed ON migration.capture_log (id) WHERE sqlstate IS NOT NULL AND swept_at IS NULL;

-- name: down
-- Removes the record of the capture.
DROP TABLE migration.capture_log;
