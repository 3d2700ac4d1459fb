-- Objects that have a name of ours but are not of our making: `made` lists what is. A schema `migration` is foreign when
-- it holds anything and we have not begun it. Reads the catalog only.
SELECT found.object, found.kind
FROM (
    SELECT 'public.' || class.relname AS object, class.relkind::text AS kind, 'public.' || class.relname AS made_with
    FROM pg_class AS class
    WHERE class.relnamespace = to_regnamespace('public')
      AND class.relname IN (
          'knowledge_extraction_runs', 'topic_proposals', 'atom_proposals', 'feature_flags',
          'knowledge_extraction_archive',
          'idx_topics_migration', 'idx_atoms_migration', 'idx_topic_atoms_atom'
      )
    UNION ALL
    SELECT 'public.' || class.relname || '.' || attribute.attname, 'column',
           'public.' || class.relname || '.migrated_from_proposal_id'
    FROM pg_attribute AS attribute
    JOIN pg_class AS class ON class.oid = attribute.attrelid
    WHERE attribute.attrelid IN (to_regclass('public.topics'), to_regclass('public.atoms'))
      AND attribute.attname IN ('migrated_from_proposal_id', 'migration_timestamp')
      AND NOT attribute.attisdropped
    UNION ALL
    SELECT 'migration.' || class.relname, class.relkind::text, 'migration.evidence'
    FROM pg_class AS class
    WHERE class.relnamespace = to_regnamespace('migration')
      AND class.relkind IN ('r', 'v', 'm', 'p', 'f')
      AND to_regclass('migration.schema_object') IS NULL
) AS found
WHERE found.made_with <> ALL (%(made)s::text[])
ORDER BY found.object
