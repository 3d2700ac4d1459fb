-- Marks the migration's run completed; only called when nothing is left to link.
UPDATE public.knowledge_extraction_runs
SET status = 'completed', completed_at = clock_timestamp()
WHERE id = migration.origin_proposal_id('knowledge_extraction_runs', 0) AND status <> 'completed'
