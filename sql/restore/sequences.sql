-- How far every sequence of the application has come; one that gave no number yet is not told. Takes no lock.
SELECT schemaname AS schema, sequencename AS name, last_value, increment_by
FROM pg_sequences
WHERE last_value IS NOT NULL AND schemaname <> %(own_schema)s
ORDER BY 1, 2;
