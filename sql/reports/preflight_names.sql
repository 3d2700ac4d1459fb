-- Objects that already have a name of ours. Asked only while no revision of ours is recorded. Reads the catalog only.
SELECT class.oid::regclass::text AS object, class.relkind::text AS kind
FROM pg_class AS class
JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
WHERE namespace.nspname = 'public'
  AND class.relname IN (
      'knowledge_extraction_runs', 'topic_proposals', 'atom_proposals', 'feature_flags',
      'idx_topics_migration', 'idx_atoms_migration', 'idx_topic_atoms_atom'
  )
UNION ALL
SELECT attribute.attrelid::regclass::text || '.' || attribute.attname, 'column'
FROM pg_attribute AS attribute
WHERE attribute.attrelid IN (to_regclass('public.topics'), to_regclass('public.atoms'))
  AND attribute.attname IN ('migrated_from_proposal_id', 'migration_timestamp')
  AND NOT attribute.attisdropped
UNION ALL
SELECT 'schema migration: ' || class.relname, class.relkind::text
FROM pg_class AS class
WHERE class.relnamespace = to_regnamespace('migration') AND class.relname <> 'alembic_version'
  AND class.relkind IN ('r', 'v', 'm', 'p')
