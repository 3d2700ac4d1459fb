-- Every index, check and foreign key of these tables: valid, invalid (a broken concurrent build), or not validated.
-- Reads the catalog only.
SELECT needed.name AS table, class.relname AS name,
       CASE WHEN index.indisvalid AND index.indisready AND index.indislive THEN 'valid' ELSE 'invalid' END AS state
FROM unnest(%(tables)s::text[]) AS needed (name)
JOIN pg_index AS index ON index.indrelid = to_regclass('public.' || needed.name)
JOIN pg_class AS class ON class.oid = index.indexrelid
UNION ALL
SELECT needed.name, constraint_.conname, CASE WHEN constraint_.convalidated THEN 'valid' ELSE 'not validated' END
FROM unnest(%(tables)s::text[]) AS needed (name)
JOIN pg_constraint AS constraint_ ON constraint_.conrelid = to_regclass('public.' || needed.name)
WHERE constraint_.contype IN ('f', 'c')
