-- Whether a rename bars the door of a database: it holds the lock that every new session asks for. Takes no lock.
SELECT EXISTS (
    SELECT
    FROM pg_locks
    JOIN pg_database ON pg_database.oid = pg_locks.objid
    WHERE pg_locks.locktype = 'object'
        AND pg_locks.classid = 'pg_database'::regclass
        AND pg_locks.mode = 'AccessExclusiveLock'
        AND pg_locks.granted
        AND pg_locks.pid = %(pid)s
        AND pg_database.datname = %(database)s
) AS barred;
