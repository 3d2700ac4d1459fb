-- Strategy appendix C: the latest extractions with the number of their proposals; counted per run, not over the whole tables.
SELECT
    run.id, run.settings ->> 'mode' AS mode, run.status, run.started_at,
    (SELECT count(*) FROM public.topic_proposals AS topic WHERE topic.extraction_run_id = run.id) AS topic_proposals,
    (SELECT count(*) FROM public.atom_proposals AS atom WHERE atom.extraction_run_id = run.id) AS atom_proposals
FROM public.knowledge_extraction_runs AS run
WHERE run.settings ->> 'mode' IS NOT NULL
ORDER BY run.created_at DESC, run.id DESC
LIMIT 20
