-- How many key ranges the ids of a table span, from both ends of its primary key.
SELECT coalesce((max(source.id) >> %(shift)s) - (min(source.id) >> %(shift)s) + 1, 0) AS ranges FROM {table} AS source
