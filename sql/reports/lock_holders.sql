-- Sessions that hold a lock on one of the tables in a mode that conflicts, in a transaction older than the age.
-- Reads pg_locks and pg_stat_activity; the text of a query shows only to a role that may see it.
SELECT DISTINCT ON (activity.pid)
    activity.pid,
    activity.usename AS "user",
    activity.application_name AS application,
    activity.state,
    extract(epoch FROM clock_timestamp() - activity.xact_start)::double precision AS transaction_seconds,
    relation.relname AS table,
    held.mode,
    left(regexp_replace(activity.query, '\s+', ' ', 'g'), 200) AS query
FROM pg_locks AS held
JOIN pg_class AS relation ON relation.oid = held.relation
JOIN pg_stat_activity AS activity ON activity.pid = held.pid
WHERE held.granted
  AND held.locktype = 'relation'
  AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND relation.oid = ANY (%(tables)s::text[]::regclass[])
  AND held.mode = ANY (%(modes)s)
  AND activity.pid <> pg_backend_pid()
  AND activity.xact_start < clock_timestamp() - make_interval(secs => %(age_seconds)s)
ORDER BY activity.pid, activity.xact_start
