-- The columns of these tables, in this schema, as far as they are there. Reads the catalog only; takes no lock that matters.
SELECT relation.relname AS table, attribute.attname AS column
FROM pg_class AS relation
JOIN pg_attribute AS attribute ON attribute.attrelid = relation.oid
WHERE relation.relnamespace = to_regnamespace(%(schema)s)
  AND relation.relname = ANY (%(tables)s)
  AND relation.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND attribute.attnum > 0
  AND NOT attribute.attisdropped
