-- name: advance_sequence
-- Advances a sequence to its last value in the other database, so that no number is given twice. Never lowers it.
SELECT setval({sequence_name}::regclass, %(last)s)
FROM {sequence} AS here
WHERE (%(last)s - here.last_value) * sign(%(increment)s) > 0 OR (%(last)s = here.last_value AND NOT here.is_called);

-- name: analyze
-- Statistics of the restored database: a dump has none, and the application's first queries need them. Nobody is connected.
ANALYZE;

-- name: database_properties
-- The properties of a database that its dump does not contain, as statements for another database: owner, rights,
-- connection limit, comment, and settings, for all roles and by role. A setting that is a list is quoted already, so it is
-- written unchanged. Catalog only; takes no lock.
WITH source AS (
    SELECT * FROM pg_database WHERE datname = %(source)s
)
SELECT 1 AS step, format('ALTER DATABASE %%I OWNER TO %%I', %(target)s::text, pg_get_userbyid(datdba)) AS statement FROM source
UNION ALL
SELECT 2, format('ALTER DATABASE %%I CONNECTION LIMIT %%s', %(target)s::text, datconnlimit) FROM source
UNION ALL
SELECT 3, format('COMMENT ON DATABASE %%I IS %%L', %(target)s::text, comment.text)
FROM source
CROSS JOIN LATERAL (SELECT shobj_description(source.oid, 'pg_database') AS text) AS comment
WHERE comment.text IS NOT NULL
UNION ALL
SELECT 4, format('REVOKE ALL ON DATABASE %%I FROM PUBLIC', %(target)s::text) FROM source WHERE datacl IS NOT NULL
UNION ALL
SELECT
    5,
    format(
        'GRANT %%s ON DATABASE %%I TO %%s%%s',
        granted.privilege_type,
        %(target)s::text,
        CASE granted.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(granted.grantee)) END,
        CASE WHEN granted.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
    )
FROM source
CROSS JOIN LATERAL aclexplode(source.datacl) AS granted
WHERE granted.grantee <> source.datdba
UNION ALL
SELECT
    6,
    format(
        CASE WHEN setting.setrole = 0 THEN 'ALTER DATABASE %%2$I SET %%3$I TO %%4$s'
             ELSE 'ALTER ROLE %%1$I IN DATABASE %%2$I SET %%3$I TO %%4$s' END,
        pg_get_userbyid(setting.setrole),
        %(target)s::text,
        split_part(one.line, '=', 1),
        CASE
            WHEN lower(split_part(one.line, '=', 1)) IN (
                'local_preload_libraries', 'search_path', 'session_preload_libraries', 'temp_tablespaces'
            )
                THEN coalesce(nullif(substr(one.line, strpos(one.line, '=') + 1), ''), quote_literal(''))
            ELSE quote_literal(substr(one.line, strpos(one.line, '=') + 1))
        END
    )
FROM source
JOIN pg_db_role_setting AS setting ON setting.setdatabase = source.oid
CROSS JOIN LATERAL unnest(setting.setconfig) AS one (line)
ORDER BY 1;

-- name: connections_are_blocked
-- Whether a rename blocks new connections to a database: it holds the lock that every new session requests. Takes no lock.
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
) AS blocked;

-- name: enabled_triggers
-- The triggers of users that fire, with their state: O (ordinary), A (always), R (on replicas). Takes no lock.
SELECT namespace.nspname AS schema, class.relname AS table, pg_trigger.tgname AS name, pg_trigger.tgenabled::text AS state
FROM pg_trigger
JOIN pg_class AS class ON class.oid = pg_trigger.tgrelid
JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
WHERE NOT pg_trigger.tgisinternal AND pg_trigger.tgenabled <> 'D' AND namespace.nspname <> %(own_schema)s
ORDER BY 1, 2, 3;

-- name: set_trigger
-- Changes the state of a trigger in the restored database, which nobody else uses yet.
ALTER TABLE {table} {state} TRIGGER {trigger};

-- name: every_table
-- Every table of the application with rows of its own: all but the server's, the migration's and those of extensions; a
-- partitioned table represents its partitions. Excludes the version table of the application's schema changes: it describes
-- the restored schema and must not be carried over. Catalog only; takes no lock.
SELECT format('%%I.%%I', namespace.nspname, class.relname) AS name
FROM pg_class AS class
JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
WHERE class.relkind IN ('r', 'p')
    AND class.relpersistence <> 't'
    AND NOT class.relispartition
    AND namespace.nspname !~ '^pg_'
    AND namespace.nspname <> 'information_schema'
    AND namespace.nspname <> %(own_schema)s
    AND NOT (namespace.nspname = 'public' AND class.relname = ANY (%(own_tables)s))
    AND class.relname <> 'alembic_version'
    AND NOT EXISTS (
        SELECT FROM pg_depend
        WHERE pg_depend.classid = 'pg_class'::regclass AND pg_depend.objid = class.oid AND pg_depend.deptype = 'e'
    )
ORDER BY 1;

-- name: exact_texts
-- Makes the text of every value exact and equal on both servers, for this transaction only, as the settings of the
-- fingerprint do for checksums: a text that is read on one side can be written on the other.
SELECT
    set_config('DateStyle', 'ISO, YMD', true),
    set_config('IntervalStyle', 'postgres', true),
    set_config('TimeZone', 'UTC', true),
    set_config('extra_float_digits', '1', true),
    set_config('bytea_output', 'hex', true),
    set_config('lc_monetary', 'C', true),
    set_config('row_security', 'off', true),
    set_config('search_path', 'pg_catalog', true);

-- name: insert_rows
-- Inserts rows into {table} with all their values, ids included. An existing row with that key is an error.
INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE
SELECT {values}
FROM unnest({arrays}) AS given ({names});

-- name: keyed_hashes
-- Each row of one range of {table}: its place, its key as text, the hash of its legacy values, and its updated_at in
-- seconds. Both sides are ordered by the place, a hash of the key, because the order of texts depends on the server's
-- collation and that of numbers does not.
-- A range is read by the primary key's index; a table without an integer key by one scan, sorted on the server's disk.
-- Takes ACCESS SHARE.
SELECT
    {place} AS place,
    {key} AS key,
    {hash} AS hash,
    {stamp} AS stamp
FROM {table} AS source
WHERE {within}
ORDER BY 1;

-- name: keys
-- The primary key of each given table, in its order, and the generated columns.
-- Catalog only; takes no lock.
SELECT
    namespace.nspname AS schema,
    class.relname AS table,
    coalesce(
        (
            SELECT array_agg(attribute.attname::text ORDER BY member.place)
            FROM pg_index AS index
            CROSS JOIN LATERAL unnest(index.indkey::int2[]) WITH ORDINALITY AS member (attnum, place)
            JOIN pg_attribute AS attribute
                ON attribute.attrelid = index.indrelid AND attribute.attnum = member.attnum
            WHERE index.indrelid = class.oid AND index.indisprimary AND member.place <= index.indnkeyatts
        ),
        ARRAY[]::text[]
    ) AS key,
    coalesce(
        (
            SELECT array_agg(attribute.attname::text)
            FROM pg_attribute AS attribute
            WHERE attribute.attrelid = class.oid AND attribute.attgenerated <> ''
        ),
        ARRAY[]::text[]
    ) AS generated
FROM unnest(%(schemas)s::text[], %(tables)s::text[]) AS wanted (schema, name)
JOIN pg_namespace AS namespace ON namespace.nspname = wanted.schema
JOIN pg_class AS class ON class.relnamespace = namespace.oid AND class.relname = wanted.name;

-- name: lock_tables
-- Blocks every write to the tables until the transaction ends; reads continue. Nobody else is connected when it is taken,
-- so it does not wait; later writers do.
LOCK TABLE {tables} IN SHARE MODE;

-- name: other_sessions
-- The sessions of a database except those given: pid, name and user; and its prepared transactions. Excludes the server's
-- own workers (autovacuum), which have no user: a rename ends them. Takes no lock.
SELECT pid, coalesce(nullif(application_name, ''), 'unnamed application') AS application, usename AS "user"
FROM pg_stat_activity
WHERE datname = %(database)s AND NOT pid = ANY (%(own)s) AND usesysid IS NOT NULL
UNION ALL
SELECT NULL, 'prepared transaction ' || quote_literal(gid), owner FROM pg_prepared_xacts WHERE database = %(database)s
ORDER BY 1;

-- name: own_search_path
-- Resets the search_path of this transaction to that of the session, for the triggers of a table that is written next.
SET LOCAL search_path TO DEFAULT;

-- name: rename_database
-- Renames a database; a rollback of the transaction undoes it. While it waits, nobody can connect to the database; it
-- continues when the last session has ended, or fails after five seconds.
ALTER DATABASE {before} RENAME TO {after};

-- name: row_hash
-- The hash of the values of one row, as the fingerprint sums it; a part of other statements.
hash_record_extended(ROW(int8send(hash_record_extended(ROW({values}), 0))), 0)

-- name: rows_by_key
-- The rows of {table} with the given keys: key, hash of the legacy values, and every value as text; locked on request, so
-- that a user's edit is either visible here or waits. One index probe of the primary key per key.
SELECT
    {key} AS key,
    {hash} AS hash,
    {values} AS values
FROM {table} AS source
JOIN unnest({arrays}) AS wanted ({names}) ON {matching}
{lock};

-- name: sequences
-- The last value of every sequence of the application that has given a number. Takes no lock.
SELECT schemaname AS schema, sequencename AS name, last_value, increment_by
FROM pg_sequences
WHERE last_value IS NOT NULL AND schemaname <> %(own_schema)s
ORDER BY 1, 2;

-- name: swap_rights
-- Whether this role may create, rename and give away a database like this one, and its owner. Takes no lock.
SELECT
    role.rolsuper OR (role.rolcreatedb AND pg_has_role(pg_database.datdba, 'USAGE')) AS may_swap,
    role.rolname AS role,
    owner.rolname AS owner
FROM pg_database
JOIN pg_roles AS owner ON owner.oid = pg_database.datdba
JOIN pg_roles AS role ON role.rolname = current_user
WHERE pg_database.datname = %(database)s;

-- name: update_rows
-- Sets rows of {table} to the values of the backup; this transaction has locked and compared them. One index probe of the
-- primary key per row.
UPDATE {table} AS target
SET {assignments}
FROM unnest({arrays}) AS given ({names})
WHERE {matching};
