-- Completed runs of the service since dual write was proven whose proposals are not as many as they recorded, kind by kind.
-- Uses idx_knowledge_runs_created, and the index of the proposals' run for the counts.
SELECT run.id, run.settings ->> 'mode' AS mode, expected.topics, actual.topics AS actual_topics, expected.atoms,
       actual.atoms AS actual_atoms
FROM public.knowledge_extraction_runs AS run
CROSS JOIN LATERAL (
    SELECT coalesce((run.settings ->> 'topic_proposals')::int, 0) AS topics,
           coalesce((run.settings ->> 'atom_proposals')::int, 0) AS atoms
) AS expected
CROSS JOIN LATERAL (
    SELECT (SELECT count(*) FROM public.topic_proposals WHERE extraction_run_id = run.id) AS topics,
           (SELECT count(*) FROM public.atom_proposals WHERE extraction_run_id = run.id) AS atoms
) AS actual
WHERE run.created_at >= %(since)s AND run.status = 'completed' AND run.settings ->> 'mode' IN ('dual_write', 'proposal')
  AND (expected.topics, expected.atoms) IS DISTINCT FROM (actual.topics, actual.atoms)
