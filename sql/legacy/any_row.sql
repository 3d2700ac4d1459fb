-- Whether a table holds anything.
SELECT 1 AS one FROM {table} LIMIT 1
