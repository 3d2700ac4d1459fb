-- The proposals of extractions that began in the window, each with where it came from: proposal mode or dual write. What the
-- backfill made is left out; it would hide what users do (strategy's windows mix them). Through idx_knowledge_runs_created and
-- the index of the proposals' run.
SELECT made.*, run.settings ->> 'mode' AS origin
FROM public.knowledge_extraction_runs AS run
CROSS JOIN LATERAL (
    SELECT 'topic' AS entity, topic.id, topic.status, topic.confidence, topic.similar_topic_id IS NOT NULL AS similar,
           topic.similarity_score, topic.review_action, topic.reviewed_at, topic.created_at
    FROM public.topic_proposals AS topic WHERE topic.extraction_run_id = run.id
    UNION ALL
    SELECT 'atom', atom.id, atom.status, atom.confidence, atom.similar_atom_id IS NOT NULL,
           atom.similarity_score, atom.review_action, atom.reviewed_at, atom.created_at
    FROM public.atom_proposals AS atom WHERE atom.extraction_run_id = run.id
) AS made
WHERE run.created_at > now() - make_interval(secs => %(window_seconds)s)
  AND run.settings ->> 'mode' IN ('dual_write', 'proposal')
