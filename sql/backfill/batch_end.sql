-- The last id that a batch would take; without locks. Walks the primary key.
SELECT max(taken.id) AS last_id
FROM (
    SELECT source.id FROM {table} AS source
    WHERE {pending}
    ORDER BY source.id
    LIMIT %(batch_size)s
) AS taken
