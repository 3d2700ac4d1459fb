-- name: preflight_ddl_probe
-- The kinds of statements of phase 1 on a schema that nobody sees: the transaction is always rolled back.
CREATE SCHEMA knowledge_migration_probe;
CREATE TABLE knowledge_migration_probe.probe (id bigint PRIMARY KEY);
ALTER TABLE knowledge_migration_probe.probe ADD COLUMN other bigint;
CREATE INDEX probe_other ON knowledge_migration_probe.probe (other);
CREATE FUNCTION knowledge_migration_probe.probe() RETURNS bigint LANGUAGE sql RETURN 1;
DROP SCHEMA knowledge_migration_probe CASCADE

-- name: preflight_extensions
-- Extensions that the legacy schema needs and this database lacks. Reads the catalog only.
SELECT needed.name AS extension,
       coalesce((SELECT default_version FROM pg_available_extensions WHERE name = needed.name), 'not on this server') AS available
FROM unnest(ARRAY['vector']) AS needed (name)
WHERE NOT EXISTS (SELECT FROM pg_extension WHERE extname = needed.name)

-- name: preflight_inheritance
-- Tables that inherit from or are inherited by a table of the application, other than partitions: a row of a child appears in
-- its parent, too. Reads the catalog.
SELECT link.inhparent::regclass::text AS parent, link.inhrelid::regclass::text AS child
FROM pg_inherits AS link
JOIN pg_class AS child ON child.oid = link.inhrelid AND NOT child.relispartition
WHERE link.inhparent = ANY (%(tables)s::regclass[]::oid[]) OR link.inhrelid = ANY (%(tables)s::regclass[]::oid[])
ORDER BY 1, 2

-- name: preflight_event_triggers
-- Event triggers that fire on schema changes and do not belong to an extension. Reads the catalog.
SELECT event.evtname AS event_trigger, event.evtevent AS event, event.evtfoid::regprocedure::text AS function
FROM pg_event_trigger AS event
WHERE event.evtenabled <> 'D' AND event.evtevent <> 'login'
  AND NOT EXISTS (
      SELECT FROM pg_depend AS owned
      WHERE owned.classid = 'pg_event_trigger'::regclass AND owned.objid = event.oid AND owned.deptype = 'e'
  )
ORDER BY 1

-- name: preflight_replica_identity
-- Tables of the application that publish updates without a replica identity: the server refuses to update them. Reads the
-- catalog.
SELECT published.pubname AS publication, class.oid::regclass::text AS table
FROM pg_class AS class
JOIN pg_namespace AS space ON space.oid = class.relnamespace
JOIN pg_publication_tables AS published ON published.schemaname = space.nspname AND published.tablename = class.relname
JOIN pg_publication AS publication ON publication.pubname = published.pubname AND publication.pubupdate
WHERE class.oid = ANY (%(tables)s::regclass[]::oid[])
  AND (
      class.relreplident = 'n'
      OR (class.relreplident = 'd' AND NOT EXISTS (SELECT FROM pg_index AS key WHERE key.indrelid = class.oid AND key.indisprimary))
  )
ORDER BY 1, 2

-- name: preflight_rights
-- What each step needs of this role on this database, one row per kind that it has and per object that it lacks, with the
-- statement that grants it. Reads the catalog only. The backup contains the whole database, so every table and sequence must be
-- readable. Membership grants ownership, not ALTER ... OWNER TO, which would take the tables from the application's role.
WITH membership AS (
    SELECT rolcreatedb OR rolsuper AS may_create, CASE
        WHEN current_setting('server_version_num')::integer >= 160000 THEN 'GRANT %%1$I TO %%2$I WITH INHERIT TRUE'
        WHEN rolinherit THEN 'GRANT %%1$I TO %%2$I'
        ELSE 'GRANT %%1$I TO %%2$I; ALTER ROLE %%2$I INHERIT'
    END AS template
    FROM pg_roles
    WHERE rolname = current_user
),
namespace AS (
    SELECT oid, nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
),
relation AS (
    SELECT class.oid, class.relkind, class.relrowsecurity, class.relnamespace,
           format('%%I.%%I', namespace.nspname, class.relname) AS name
    FROM pg_class AS class
    JOIN namespace ON namespace.oid = class.relnamespace
    WHERE class.relkind IN ('r', 'p', 'S')
),
rights (place, step, kind, object, met, remedy) AS (
    SELECT 1, CASE needed.name WHEN 'public.atom_links' THEN '2 dual write: the capture in the database'
                               ELSE '1 schema, 3 backfill, 5 cleanup' END, 'the rights of the owner of', needed.name,
           pg_has_role(current_user, needed.owner, 'USAGE'),
           format(membership.template, pg_get_userbyid(needed.owner), current_user)
    FROM membership CROSS JOIN (
        SELECT 'public.' || relname AS name, relowner AS owner
        FROM pg_class
        WHERE relnamespace = to_regnamespace('public') AND relname IN ('topics', 'atoms', 'topic_atoms', 'atom_links')
        UNION ALL
        SELECT 'schema migration', nspowner FROM pg_namespace WHERE nspname = 'migration'
    ) AS needed
    UNION ALL
    SELECT 2, '1 schema', 'REFERENCES on', 'public.users', has_table_privilege(current_user, users.oid, 'REFERENCES'),
           format('GRANT REFERENCES ON public.users TO %%I', current_user)
    FROM pg_class AS users
    WHERE users.relnamespace = to_regnamespace('public') AND users.relname = 'users'
    UNION ALL
    SELECT 3, '0 backup', 'USAGE on', 'schema ' || namespace.nspname,
           has_schema_privilege(current_user, namespace.oid, 'USAGE'),
           format('GRANT USAGE ON SCHEMA %%I TO %%I', namespace.nspname, current_user)
    FROM namespace
    WHERE EXISTS (SELECT FROM relation WHERE relnamespace = namespace.oid)
    UNION ALL
    SELECT 4, '0 backup', 'SELECT on', relation.name,
           CASE relkind
               WHEN 'S' THEN has_sequence_privilege(current_user, oid, 'SELECT')
               ELSE has_table_privilege(current_user, oid, 'SELECT')
           END,
           format('GRANT SELECT ON %%s TO %%I', relation.name, current_user)
    FROM relation
    UNION ALL
    SELECT 5, '0 backup, 3 backfill', 'access to every row (row security) of', oid::regclass::text,
           NOT row_security_active(oid), format('ALTER ROLE %%I BYPASSRLS', current_user)
    FROM relation
    WHERE relrowsecurity
    UNION ALL
    SELECT 6, '1 schema', 'CREATE on', 'schema public', has_schema_privilege(current_user, 'public', 'CREATE'),
           format('GRANT CREATE ON SCHEMA public TO %%I', current_user)
    UNION ALL
    SELECT 7, '0 evidence', 'CREATE on', 'the database', has_database_privilege(current_user, current_database(), 'CREATE'),
           format('GRANT CREATE ON DATABASE %%I TO %%I', current_database(), current_user)
    WHERE to_regnamespace('migration') IS NULL
    UNION ALL
    SELECT 8, '0 evidence', 'EXECUTE on', 'pg_control_system()',
           has_function_privilege(current_user, 'pg_control_system()', 'EXECUTE'),
           format('GRANT EXECUTE ON FUNCTION pg_control_system() TO %%I', current_user)
    UNION ALL
    SELECT 9, '0 preflight, 1 schema, 2 dual write, 3 backfill', 'pg_read_all_stats, for', 'the transactions of other users',
           pg_has_role(current_user, 'pg_read_all_stats', 'USAGE'),
           format(membership.template, 'pg_read_all_stats', current_user)
    FROM membership
)
SELECT step, kind || ' ' || object AS needed, 'missing' AS observed, remedy, false AS met, place
FROM rights
WHERE NOT met
UNION ALL
SELECT step, kind || ' ' || CASE WHEN count(*) = 1 THEN min(object) ELSE count(*) || ' objects' END, 'granted', '', true, place
FROM rights
WHERE met
GROUP BY step, kind, place
UNION ALL
SELECT 'rollback: restore of the whole database', 'CREATEDB on this server',
       CASE WHEN may_create THEN 'granted' ELSE 'missing; needed only for this last resort' END,
       CASE WHEN may_create THEN '' ELSE format('ALTER ROLE %%I CREATEDB', current_user) END, true, 10
FROM membership
ORDER BY place, needed

-- name: preflight_scratch
-- What the verification of the backup and the rehearsal need of the role of this session on the scratch server: a database like
-- the migrated one and its extensions. Reads the catalog. Managed services let members of their administrators' role create
-- extensions that only a superuser may create elsewhere.
WITH role AS (
    SELECT rolname, rolsuper, rolcreatedb OR rolsuper AS may_create, EXISTS (
        SELECT FROM pg_roles AS administrators
        WHERE administrators.rolname = ANY (
            ARRAY['rds_superuser', 'cloudsqlsuperuser', 'alloydbsuperuser', 'azure_pg_admin', 'neon_superuser']::name[]
        )
        AND pg_has_role(me.oid, administrators.oid, 'MEMBER')
    ) AS administers
    FROM pg_roles AS me
    WHERE rolname = current_user
),
extension AS (
    SELECT wanted.name, version.name IS NOT NULL AS available,
           NOT version.superuser OR version.trusted OR role.rolsuper OR role.administers
           OR wanted.name = ANY (regexp_split_to_array(current_setting('supautils.privileged_extensions', true), '[ ,]+'))
               AS may_create
    FROM role CROSS JOIN unnest(%(extensions)s::text[]) AS wanted (name)
    LEFT JOIN pg_available_extensions AS available ON available.name = wanted.name
    LEFT JOIN pg_available_extension_versions AS version
        ON version.name = available.name AND version.version = available.default_version
)
SELECT 'PostgreSQL ' || %(major)s || ' or later' AS needed, current_setting('server_version') AS observed, '' AS remedy,
       current_setting('server_version_num')::integer / 10000 >= %(major)s AS met
UNION ALL
SELECT 'CREATEDB', CASE WHEN may_create THEN 'granted' ELSE 'missing' END,
       CASE WHEN may_create THEN '' ELSE format('ALTER ROLE %%I CREATEDB', rolname) END, may_create
FROM role
UNION ALL
SELECT 'CREATE EXTENSION ' || name,
       CASE WHEN NOT available THEN 'not on this server'
            WHEN may_create IS TRUE THEN 'allowed'
            ELSE 'not a trusted extension, and the role is no superuser' END,
       '', available AND may_create IS TRUE
FROM extension

-- name: preflight_row_security
-- Tables of the application with row security: a role that it applies to would migrate the rows that it sees. Reads the catalog.
SELECT class.oid::regclass::text AS table,
       CASE WHEN class.relforcerowsecurity THEN 'enabled and forced' ELSE 'enabled' END AS row_security
FROM pg_class AS class
WHERE class.oid = ANY (%(tables)s::regclass[]::oid[]) AND class.relrowsecurity AND row_security_active(class.oid)
ORDER BY 1

-- name: preflight_rules
-- Rules on the tables of the application that rewrite or suppress writes. Reads the catalog.
SELECT rule.ev_class::regclass::text AS table, rule.rulename AS rule
FROM pg_rewrite AS rule
WHERE rule.ev_class = ANY (%(tables)s::regclass[]::oid[]) AND rule.ev_type <> '1' AND rule.ev_enabled <> 'D'
ORDER BY 1, 2

-- name: preflight_size
-- Bytes of the database on disk: the upper bound of its dump.
SELECT pg_database_size(current_database()) AS bytes

-- name: preflight_other_schemas
-- Tables of the application that are not in schema public, with the schemas that have one of that name. Reads the catalog.
SELECT wanted.name AS table, string_agg(space.nspname, ', ' ORDER BY space.nspname) AS in_schemas
FROM unnest(%(tables)s::text[]) AS wanted (name)
JOIN pg_class AS class ON class.relname = wanted.name AND class.relkind IN ('r', 'p')
JOIN pg_namespace AS space ON space.oid = class.relnamespace AND space.nspname NOT IN ('pg_catalog', 'information_schema')
WHERE to_regclass('public.' || wanted.name) IS NULL
GROUP BY wanted.name
ORDER BY wanted.name

-- name: preflight_subscribers
-- What other servers receive of the given tables while these lack the columns of phase 1: publications of whole rows (without a
-- column list, which PostgreSQL 15 introduced), and slots of other plugins than pgoutput, whose consumers the server does not
-- know. Reads the catalog.
WITH waiting AS (
    SELECT class.oid, class.relname, space.nspname
    FROM pg_class AS class
    JOIN pg_namespace AS space ON space.oid = class.relnamespace
    WHERE class.oid = ANY (%(tables)s::regclass[]::oid[])
      AND NOT EXISTS (
          SELECT FROM pg_attribute AS attribute
          WHERE attribute.attrelid = class.oid AND attribute.attname = 'migrated_from_proposal_id' AND NOT attribute.attisdropped
      )
)
SELECT 'publication' AS kind, publication.pubname AS name, waiting.relname AS table, publication.puballtables AS all_tables
FROM waiting
JOIN pg_publication_tables AS published ON published.schemaname = waiting.nspname AND published.tablename = waiting.relname
JOIN pg_publication AS publication ON publication.pubname = published.pubname
LEFT JOIN pg_publication_rel AS listed ON listed.prpubid = publication.oid AND listed.prrelid = waiting.oid
WHERE to_jsonb(listed) ->> 'prattrs' IS NULL
UNION ALL
SELECT 'replication slot (' || slot.plugin || ')', slot.slot_name, NULL, NULL
FROM pg_replication_slots AS slot
WHERE slot.slot_type = 'logical' AND slot.database = current_database() AND slot.plugin <> 'pgoutput' AND NOT slot.temporary
  AND EXISTS (SELECT FROM waiting)
ORDER BY 1, 2, 3

-- name: preflight_transactions
-- Transactions of this database older than the age, and prepared ones. Includes sessions of other users whose transactions
-- this role may not see: their age is unknown. Reads pg_stat_activity and pg_prepared_xacts.
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

-- name: preflight_writable
-- Why this session cannot write: a standby, or transactions that are read-only by default, with where that is set.
SELECT 'a standby in recovery' AS reason, '' AS set_by WHERE pg_is_in_recovery()
UNION ALL
SELECT 'default_transaction_read_only is on',
       CASE source WHEN 'user' THEN 'the role' WHEN 'database' THEN 'the database' ELSE source END
FROM pg_settings
WHERE name = 'default_transaction_read_only' AND setting = 'on'

-- name: preflight_text
-- Reads every row of one table of an SQL_ASCII database; an error (22021) where the text of one is not UTF-8.
SELECT count(convert_from(convert_to(checked::text, 'SQL_ASCII'), 'UTF8')) AS rows FROM {table} AS checked

-- name: preflight_installed_extensions
-- The extensions that a dump of this database creates. Reads the catalog.
SELECT extname AS name FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY extname
