-- name: up
-- Outside a transaction; reads and writes continue. UNIQUE: a proposal is the origin of one row at most. Partial: a row
-- that the application writes directly (NULL link) does not change it. Without it, a rollback of the backfill is quadratic.
CREATE UNIQUE INDEX CONCURRENTLY {index} ON {table} (migrated_from_proposal_id)
    WHERE migrated_from_proposal_id IS NOT NULL;

-- name: down
-- Outside a transaction; reads and writes continue.
DROP INDEX CONCURRENTLY public.{index};
