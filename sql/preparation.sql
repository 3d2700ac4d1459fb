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
-- The privileges that the role lacks, each with the statement that grants it. Reads the catalog only. The backup contains
-- the whole database, so every table and sequence must be readable.
-- Membership grants ownership, not ALTER ... OWNER TO, which would take the tables from the application's role.
WITH membership AS (
    SELECT CASE
        WHEN current_setting('server_version_num')::integer >= 160000 THEN 'GRANT %%1$I TO %%2$I WITH INHERIT TRUE'
        WHEN rolinherit THEN 'GRANT %%1$I TO %%2$I'
        ELSE 'GRANT %%1$I TO %%2$I; ALTER ROLE %%2$I INHERIT'
    END AS template
    FROM pg_roles
    WHERE rolname = current_user
)
SELECT 'the rights of the owner of ' || needed.name AS missing,
       format(membership.template, pg_get_userbyid(needed.owner), current_user) AS remedy
FROM membership CROSS JOIN (
    SELECT 'public.' || relname AS name, relowner AS owner
    FROM pg_class
    WHERE relnamespace = to_regnamespace('public') AND relname IN ('topics', 'atoms', 'topic_atoms')
    UNION ALL
    SELECT 'schema migration', (SELECT nspowner FROM pg_namespace WHERE nspname = 'migration')
) AS needed
WHERE NOT pg_has_role(current_user, needed.owner, 'USAGE')
UNION ALL
SELECT 'REFERENCES on public.users', format('GRANT REFERENCES ON public.users TO %%I', current_user)
FROM pg_class AS users
WHERE users.relnamespace = to_regnamespace('public') AND users.relname = 'users'
  AND NOT has_table_privilege(current_user, users.oid, 'REFERENCES')
UNION ALL
SELECT 'USAGE on schema ' || namespace.nspname, format('GRANT USAGE ON SCHEMA %%I TO %%I', namespace.nspname, current_user)
FROM pg_namespace AS namespace
WHERE namespace.nspname !~ '^pg_' AND namespace.nspname <> 'information_schema'
  AND NOT has_schema_privilege(current_user, namespace.oid, 'USAGE')
  AND EXISTS (SELECT FROM pg_class WHERE relnamespace = namespace.oid AND relkind IN ('r', 'p', 'S'))
UNION ALL
SELECT 'SELECT on ' || relation.name, format('GRANT SELECT ON %%s TO %%I', relation.name, current_user)
FROM (
    SELECT format('%%I.%%I', namespace.nspname, class.relname) AS name,
           CASE class.relkind
               WHEN 'S' THEN has_sequence_privilege(current_user, class.oid, 'SELECT')
               ELSE has_table_privilege(current_user, class.oid, 'SELECT')
           END AS readable
    FROM pg_class AS class
    JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
    WHERE class.relkind IN ('r', 'p', 'S')
      AND namespace.nspname !~ '^pg_' AND namespace.nspname <> 'information_schema'
) AS relation
WHERE NOT relation.readable
UNION ALL
SELECT 'access to every row of ' || class.oid::regclass || ' (it has row security)',
       format('ALTER ROLE %%I BYPASSRLS', current_user)
FROM pg_class AS class
WHERE class.relrowsecurity AND row_security_active(class.oid)
UNION ALL
SELECT 'CREATE on schema public', format('GRANT CREATE ON SCHEMA public TO %%I', current_user)
WHERE NOT has_schema_privilege(current_user, 'public', 'CREATE')
UNION ALL
SELECT 'CREATE on the database', format('GRANT CREATE ON DATABASE %%I TO %%I', current_database(), current_user)
WHERE to_regnamespace('migration') IS NULL
  AND NOT has_database_privilege(current_user, current_database(), 'CREATE')
UNION ALL
SELECT 'visibility of the transactions of other users', format(membership.template, 'pg_read_all_stats', current_user)
FROM membership
WHERE NOT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')
UNION ALL
SELECT 'CREATEDB, to verify the backup in a scratch database (or set KNOWLEDGE_MIGRATION_SCRATCH_URL)',
       format('ALTER ROLE %%I CREATEDB', current_user)
FROM pg_roles
WHERE rolname = current_user AND NOT rolcreatedb AND NOT rolsuper AND NOT %(scratch_is_elsewhere)s
UNION ALL
SELECT 'CREATE EXTENSION ' || available.name || ' (the verification of the backup restores it into a scratch database; it is not a trusted extension)',
       'connect as a superuser, or set KNOWLEDGE_MIGRATION_SCRATCH_URL to a server where the role may'
FROM pg_extension AS installed
JOIN pg_available_extension_versions AS available
  ON available.name = installed.extname AND available.version = installed.extversion
JOIN pg_roles AS role ON role.rolname = current_user
WHERE NOT available.trusted AND NOT role.rolsuper AND NOT %(scratch_is_elsewhere)s

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
