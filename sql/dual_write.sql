-- name: live_writers
-- The processes of the service that reported lately, with what they obey. Reads a small table of our own.
SELECT process, mode, flag_version, seen_at,
       round(extract(epoch FROM clock_timestamp() - seen_at)::numeric, 1) AS seconds_ago
FROM migration.writer_heartbeat
WHERE seen_at > clock_timestamp() - make_interval(secs => %(live_seconds)s)
ORDER BY process

-- name: open_transactions
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
