-- Reads one row of a live table as the application would: stands in the queue behind a waiting ACCESS EXCLUSIVE.
SELECT 1 FROM {table} LIMIT 1
