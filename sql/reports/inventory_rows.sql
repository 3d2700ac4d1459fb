-- The exact number of rows of one table: a scan of the table or of its smallest index. Takes ACCESS SHARE, which only
-- a schema change of that table waits for.
SELECT count(*) AS rows FROM {table};
