-- The columns of a table that the migration must leave as they are. Reads the catalog.
SELECT attribute.attname AS name
FROM pg_attribute AS attribute
WHERE attribute.attrelid = %(table)s::regclass
  AND attribute.attnum > 0
  AND NOT attribute.attisdropped
  AND attribute.attname NOT IN ('migrated_from_proposal_id', 'migration_timestamp')
ORDER BY attribute.attnum
