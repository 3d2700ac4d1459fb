-- Who holds the right to do one piece of work. Reads pg_locks and pg_stat_activity.
SELECT activity.pid, activity.application_name AS application, activity.backend_start AS since
FROM pg_locks AS held
JOIN pg_stat_activity AS activity ON activity.pid = held.pid
WHERE held.locktype = 'advisory'
  AND held.granted
  AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND held.objsubid = 1 AND ((held.classid::bigint << 32) | held.objid::bigint) = hashtextextended('knowledge_migration:' || %(work)s, 0)
