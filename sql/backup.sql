-- name: backup_source
-- The identity (cluster and oid), size, encoding and locale of the source database, so that a scratch database can be created alike. Through to_jsonb, because the columns of the locale provider came with 15 and changed
-- their name with 17. Catalog only; takes no lock, the size counts files.
SELECT
    (SELECT system_identifier FROM pg_control_system()) || '/' || oid AS identity,
    pg_database_size(oid) AS size_bytes,
    pg_encoding_to_char(encoding) AS encoding,
    datcollate AS collate,
    datctype AS ctype,
    coalesce(to_jsonb(pg_database) ->> 'datlocprovider', 'c') AS provider,
    coalesce(to_jsonb(pg_database) ->> 'datlocale', to_jsonb(pg_database) ->> 'daticulocale') AS locale
FROM pg_database
WHERE datname = current_database();

-- name: scratch_create_builtin
-- As scratch_create_libc, for a source with the builtin locale provider (PostgreSQL 17 and later).
CREATE DATABASE {scratch} TEMPLATE template0 ENCODING {encoding} LC_COLLATE {collate} LC_CTYPE {ctype}
LOCALE_PROVIDER builtin BUILTIN_LOCALE {locale};

-- name: scratch_create_icu
-- As scratch_create_libc, for a source whose text is ordered by ICU.
CREATE DATABASE {scratch} TEMPLATE template0 ENCODING {encoding} LC_COLLATE {collate} LC_CTYPE {ctype}
LOCALE_PROVIDER icu ICU_LOCALE {locale};

-- name: scratch_create_libc
-- A new, empty database on the scratch server, with the source's encoding and libc locale. From template0, so that
-- objects in template1 do not disturb the restore. Touches no existing database.
CREATE DATABASE {scratch} TEMPLATE template0 ENCODING {encoding} LC_COLLATE {collate} LC_CTYPE {ctype};

-- name: scratch_drop
-- Drops a scratch database of this run, sessions included. This run generated the name.
DROP DATABASE IF EXISTS {scratch} WITH (FORCE);

-- name: scratch_drop_leftover
-- Drops the scratch database of a run that was killed. Without FORCE: the server refuses (55006) where a session is
-- connected, and a living run always has one.
DROP DATABASE IF EXISTS {scratch};

-- name: scratch_leftovers
-- Scratch databases without a connection that this role may drop. A living run keeps one session in its
-- database from the moment it exists; the second of its creation, by this server's clock, is the first eight digits of
-- its name, and it is kept for the first minute even without a session. Catalog only; takes no lock.
SELECT datname AS name
FROM pg_database
WHERE datname ~ ('^' || %(prefix)s || '[0-9a-f]{{16}}$')
    AND ('x' || lpad(substr(datname, length(%(prefix)s) + 1, 8), 16, '0'))::bit(64)::bigint
        < extract(epoch FROM clock_timestamp()) - 60
    AND pg_has_role(datdba, 'USAGE')
    AND NOT EXISTS (
        SELECT FROM pg_stat_activity
        WHERE pg_stat_activity.datid = pg_database.oid AND pg_stat_activity.usesysid IS NOT NULL
    );

-- name: scratch_name
-- The name of a new scratch database: the second of its creation by the server's clock, and 32 random bits.
SELECT %(prefix)s || lpad(to_hex(extract(epoch FROM clock_timestamp())::bigint), 8, '0')
    || substr(md5(gen_random_uuid()::text), 1, 8) AS name;
