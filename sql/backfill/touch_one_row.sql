-- Writes the migration's column of the next row, to see what else that changes; run in a transaction that is rolled back.
-- FOR NO KEY UPDATE on that one row, past what users hold.
WITH before AS MATERIALIZED (
    SELECT source.id, ARRAY[{values}]::text[] AS values
    FROM {table} AS source
    WHERE {pending}
    ORDER BY source.id
    LIMIT 1
    FOR NO KEY UPDATE OF source SKIP LOCKED
)
UPDATE {table} AS source
SET migration_timestamp = now()
FROM before
WHERE source.id = before.id
RETURNING before.values AS before, ARRAY[{values}]::text[] AS after
