-- Scratch databases that nobody is connected to and that this role may drop. A living run keeps one session in its
-- database from the moment it exists; the second of its creation, by this server's clock, is the first eight digits of
-- its name, and for the first minute it is left alone even without a session. Catalog only; takes no lock.
SELECT datname AS name
FROM pg_database
WHERE datname ~ ('^' || %(prefix)s || '[0-9a-f]{{16}}$')
    AND ('x' || lpad(substr(datname, length(%(prefix)s) + 1, 8), 16, '0'))::bit(64)::bigint
        < extract(epoch FROM clock_timestamp()) - 60
    AND pg_has_role(datdba, 'USAGE')
    AND NOT EXISTS (
        SELECT FROM pg_stat_activity
        WHERE pg_stat_activity.datid = pg_database.oid AND pg_stat_activity.backend_type = 'client backend'
    );
