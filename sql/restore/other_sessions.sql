-- Who is connected to a database but the sessions given: pid, name and user; and what has prepared a transaction in it.
-- The server's own workers (autovacuum) are not told: a rename ends them. Takes no lock.
SELECT pid, coalesce(nullif(application_name, ''), 'unnamed application') AS application, usename AS "user"
FROM pg_stat_activity
WHERE datname = %(database)s AND NOT pid = ANY (%(own)s) AND backend_type NOT LIKE 'autovacuum%%'
UNION ALL
SELECT NULL, 'prepared transaction ' || quote_literal(gid), owner FROM pg_prepared_xacts WHERE database = %(database)s
ORDER BY 1;
