-- Rows of a table that do not say when they came to be. One scan, ACCESS SHARE: reads and writes go on.
SELECT id, updated_at FROM {table} WHERE created_at IS NULL
