-- Rows of a table that were changed before they came to be. One scan, ACCESS SHARE: reads and writes go on.
SELECT id, created_at, updated_at FROM {table} WHERE updated_at < created_at
