-- Transactions of this database older than the age, and prepared ones. A session of another user whose transactions this
-- role may not see is told too: what cannot be seen is not known to be short. Reads pg_stat_activity, pg_prepared_xacts.
SELECT pid, usename AS "user", application_name AS application,
       coalesce(state, CASE WHEN query = '<insufficient privilege>' THEN 'state not visible' ELSE backend_type END) AS state,
       extract(epoch FROM clock_timestamp() - xact_start)::double precision AS transaction_seconds,
       left(regexp_replace(query, '\s+', ' ', 'g'), 200) AS query
FROM pg_stat_activity
WHERE datname = current_database()
  AND pid <> pg_backend_pid()
  AND (
      xact_start < clock_timestamp() - make_interval(secs => %(age_seconds)s)
      OR (xact_start IS NULL AND query = '<insufficient privilege>')
  )
UNION ALL
SELECT NULL, owner, 'prepared transaction ' || quote_literal(gid), 'prepared',
       extract(epoch FROM clock_timestamp() - prepared)::double precision,
       'COMMIT PREPARED or ROLLBACK PREPARED ends it'
FROM pg_prepared_xacts
WHERE database = current_database()
ORDER BY transaction_seconds DESC NULLS LAST
