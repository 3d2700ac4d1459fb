-- The migration's extraction run, unless it is completed; a run that never started also violates the rule.
SELECT coalesce(run.status, 'never started') AS status, run.started_at
FROM (SELECT migration.origin_proposal_id('knowledge_extraction_runs', 0) AS id) AS expected
LEFT JOIN public.knowledge_extraction_runs AS run ON run.id = expected.id
WHERE run.status IS DISTINCT FROM 'completed'
