-- The foreign keys whose two ends are both among the given tables. Catalog only; takes no lock.
SELECT
    constraint_row.conname AS name,
    constraint_row.conrelid::bigint AS oid,
    constraint_row.confrelid::bigint AS referenced_oid,
    (
        SELECT array_agg(attribute.attname::text ORDER BY key.place)
        FROM unnest(constraint_row.conkey) WITH ORDINALITY AS key (attnum, place)
        JOIN pg_attribute AS attribute
            ON attribute.attrelid = constraint_row.conrelid AND attribute.attnum = key.attnum
    ) AS columns,
    (
        SELECT array_agg(attribute.attname::text ORDER BY key.place)
        FROM unnest(constraint_row.confkey) WITH ORDINALITY AS key (attnum, place)
        JOIN pg_attribute AS attribute
            ON attribute.attrelid = constraint_row.confrelid AND attribute.attnum = key.attnum
    ) AS referenced_columns,
    constraint_row.convalidated AS validated,
    CASE constraint_row.confdeltype
        WHEN 'a' THEN 'NO ACTION'
        WHEN 'r' THEN 'RESTRICT'
        WHEN 'c' THEN 'CASCADE'
        WHEN 'n' THEN 'SET NULL'
        WHEN 'd' THEN 'SET DEFAULT'
    END AS on_delete
FROM pg_constraint AS constraint_row
WHERE constraint_row.contype = 'f'
    AND constraint_row.conparentid = 0
    AND constraint_row.conrelid = ANY (%(oids)s::bigint[]::oid[])
    AND constraint_row.confrelid = ANY (%(oids)s::bigint[]::oid[])
ORDER BY constraint_row.conname, constraint_row.oid;
