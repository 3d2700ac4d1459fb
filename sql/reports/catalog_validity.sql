-- Every index and foreign key on the tables of the proposal workflow, and ours on the live ones: valid, invalid (a broken
-- concurrent build) or not validated. Reads the catalog only.
SELECT class.relname AS name, CASE WHEN index.indisvalid AND index.indisready THEN 'valid' ELSE 'invalid' END AS state
FROM pg_index AS index
JOIN pg_class AS class ON class.oid = index.indexrelid
WHERE index.indrelid IN (
        to_regclass('public.knowledge_extraction_runs'), to_regclass('public.topic_proposals'),
        to_regclass('public.atom_proposals'), to_regclass('public.feature_flags')
    )
   OR class.oid IN (
        to_regclass('public.idx_topics_migration'), to_regclass('public.idx_atoms_migration'),
        to_regclass('public.idx_topic_atoms_atom')
    )
UNION ALL
SELECT constraint_.conname, CASE WHEN constraint_.convalidated THEN 'valid' ELSE 'not validated' END
FROM pg_constraint AS constraint_
WHERE constraint_.contype IN ('f', 'c')
  AND (
      constraint_.conrelid IN (
          to_regclass('public.knowledge_extraction_runs'), to_regclass('public.topic_proposals'),
          to_regclass('public.atom_proposals'), to_regclass('public.feature_flags')
      )
      OR (
          constraint_.conrelid IN (to_regclass('public.topics'), to_regclass('public.atoms'))
          AND constraint_.confrelid IN (to_regclass('public.topic_proposals'), to_regclass('public.atom_proposals'))
      )
  )
