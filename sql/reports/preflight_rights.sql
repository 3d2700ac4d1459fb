-- What the role lacks, each with the statement that gives it. Reads the catalog only.
SELECT 'own ' || needed.name AS missing,
       format('ALTER TABLE %%s OWNER TO %%I, or connect as a member of its owner', needed.name, current_user) AS remedy
FROM unnest(ARRAY['public.topics', 'public.atoms', 'public.topic_atoms']) AS needed (name)
JOIN pg_class AS class ON class.oid = to_regclass(needed.name)
WHERE NOT pg_has_role(current_user, class.relowner, 'USAGE')
UNION ALL
SELECT needed.privilege || ' on ' || needed.name,
       format('GRANT %%s ON %%s TO %%I', needed.privilege, needed.name, current_user)
FROM (
    VALUES ('public.users', 'REFERENCES'), ('public.users', 'SELECT'), ('public.topics', 'SELECT'),
           ('public.atoms', 'SELECT'), ('public.topic_atoms', 'SELECT'), ('public.atom_links', 'SELECT'),
           ('public.messages', 'SELECT'), ('public.sources', 'SELECT'), ('public.telegram_profiles', 'SELECT')
) AS needed (name, privilege)
WHERE to_regclass(needed.name) IS NOT NULL
  AND NOT has_table_privilege(current_user, to_regclass(needed.name), needed.privilege)
UNION ALL
SELECT 'CREATE on schema public', format('GRANT CREATE ON SCHEMA public TO %%I', current_user)
WHERE NOT has_schema_privilege(current_user, 'public', 'CREATE')
UNION ALL
SELECT 'CREATE on the database', format('GRANT CREATE ON DATABASE %%I TO %%I', current_database(), current_user)
WHERE to_regnamespace('migration') IS NULL
  AND NOT has_database_privilege(current_user, current_database(), 'CREATE')
UNION ALL
SELECT 'CREATEDB (to prove the backup in a scratch database)',
       format('ALTER ROLE %%I CREATEDB, or set KNOWLEDGE_MIGRATION_SCRATCH_URL', current_user)
FROM pg_roles
WHERE rolname = current_user AND NOT rolcreatedb AND NOT rolsuper AND NOT %(scratch_is_elsewhere)s
