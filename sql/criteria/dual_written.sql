-- Completed extractions in dual write: what they proposed, what of it became knowledge at once, and what direct mode would have
-- dropped because the model was not sure. Through idx_knowledge_runs_created and the index of the proposals' run.
SELECT
    count(DISTINCT run.id) AS extractions, count(proposed.id) AS proposals,
    count(proposed.id) FILTER (WHERE proposed.linked) AS with_knowledge,
    count(proposed.id) FILTER (WHERE proposed.confidence < %(threshold)s) AS unsure
FROM public.knowledge_extraction_runs AS run
LEFT JOIN LATERAL (
    SELECT topic.id, topic.confidence,
           EXISTS (SELECT FROM public.topics AS made WHERE made.migrated_from_proposal_id = topic.id) AS linked
    FROM public.topic_proposals AS topic WHERE topic.extraction_run_id = run.id
    UNION ALL
    SELECT atom.id, atom.confidence,
           EXISTS (SELECT FROM public.atoms AS made WHERE made.migrated_from_proposal_id = atom.id)
    FROM public.atom_proposals AS atom WHERE atom.extraction_run_id = run.id
) AS proposed ON true
WHERE run.id IN (
    SELECT latest.id FROM public.knowledge_extraction_runs AS latest
    WHERE latest.status = 'completed' AND latest.settings ->> 'mode' = 'dual_write'
    ORDER BY latest.created_at DESC LIMIT 1000
)
