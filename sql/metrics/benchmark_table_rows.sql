-- How many rows the statistics say that each of these tables has; -1 where it was never analyzed. Reads the catalog only.
SELECT namespaces.nspname || '.' || classes.relname AS name, classes.reltuples::bigint AS rows
FROM pg_class AS classes
JOIN pg_namespace AS namespaces ON namespaces.oid = classes.relnamespace
WHERE namespaces.nspname || '.' || classes.relname = ANY(%(tables)s)
