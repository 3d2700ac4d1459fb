-- Transactions of this database older than the age, and prepared ones. Reads pg_stat_activity and pg_prepared_xacts.
SELECT pid, usename AS "user", application_name AS application, state,
       extract(epoch FROM clock_timestamp() - xact_start)::double precision AS transaction_seconds,
       left(regexp_replace(query, '\s+', ' ', 'g'), 200) AS query
FROM pg_stat_activity
WHERE datname = current_database()
  AND pid <> pg_backend_pid()
  AND xact_start < clock_timestamp() - make_interval(secs => %(age_seconds)s)
UNION ALL
SELECT NULL, owner, 'prepared transaction ' || gid, 'prepared',
       extract(epoch FROM clock_timestamp() - prepared)::double precision, NULL
FROM pg_prepared_xacts
WHERE database = current_database()
