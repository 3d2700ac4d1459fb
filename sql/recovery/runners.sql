-- Who works on the backfill of this database now: every session that holds its right, a runner's shared, a rollback's
-- not. The lock belongs to the session, so a process that was killed is not among them. Reads pg_locks and pg_stat_activity.
SELECT activity.pid, activity.application_name AS application, activity.backend_start AS since, held.mode = 'ShareLock' AS shared
FROM pg_locks AS held
JOIN pg_stat_activity AS activity ON activity.pid = held.pid
WHERE held.locktype = 'advisory'
  AND held.granted
  AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND held.objsubid = 1 AND ((held.classid::bigint << 32) | held.objid::bigint) = hashtextextended('knowledge_migration:' || %(work)s, 0)
ORDER BY activity.backend_start, activity.pid
