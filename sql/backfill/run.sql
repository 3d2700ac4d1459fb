-- The migration's extraction run, if it was begun.
SELECT id, status, started_at, completed_at
FROM public.knowledge_extraction_runs
WHERE id = migration.origin_proposal_id('knowledge_extraction_runs', 0)
