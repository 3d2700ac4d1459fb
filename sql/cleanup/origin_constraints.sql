-- What the catalog says of the constraints that make every row name its proposal. Reads the catalog only.
SELECT needed.name AS table, found.conname IS NOT NULL AS present, found.convalidated AS validated,
       pg_get_constraintdef(found.oid) AS definition
FROM unnest(%(tables)s::text[], %(names)s::text[]) AS needed (name, constraint_name)
LEFT JOIN pg_constraint AS found
    ON found.conrelid = to_regclass('public.' || needed.name) AND found.conname = needed.constraint_name
