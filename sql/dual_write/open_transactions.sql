-- Every transaction of this database that is open now, prepared ones too: what began before a change of flags may still be
-- written under the old ones. Not our own session. Reads views only.
SELECT pid, application_name AS application, usename AS username, xact_start AS since, state, left(query, 80) AS query
FROM pg_stat_activity
WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()
  AND backend_type IN ('client backend', 'parallel worker')
UNION ALL
SELECT NULL, 'prepared transaction ' || gid, owner, prepared, 'prepared', ''
FROM pg_prepared_xacts
WHERE database = current_database()
ORDER BY since
