-- About how many rows of a table have their proposal and how many do not: the planner's count of rows, and the ledger's of what
-- the backfill linked; what dual write links of itself is left out, so this never claims too much.
SELECT least(ledger.linked, about.rows) AS linked, greatest(about.rows - ledger.linked, 0) AS unlinked
FROM (
    SELECT greatest(class.reltuples, 0)::bigint AS rows FROM pg_class AS class WHERE class.oid = %(table)s::regclass
) AS about
CROSS JOIN (
    SELECT coalesce(sum(batch.linked_rows), 0)::bigint AS linked
    FROM migration.backfill_batch AS batch WHERE batch.entity = %(entity)s
) AS ledger
