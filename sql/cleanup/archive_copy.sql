-- Copies these locked runs with their proposals, those that may still be archived. A JSON null in meta is marked: as JSON it
-- would be the same as none.
INSERT INTO public.knowledge_extraction_archive (id, run, topic_proposals, atom_proposals)
SELECT
    run.id, to_jsonb(run),
    (
        SELECT coalesce(jsonb_agg(to_jsonb(proposal) ORDER BY proposal.created_at, proposal.id), '[]')
        FROM public.topic_proposals AS proposal
        WHERE proposal.extraction_run_id = run.id
    ),
    (
        SELECT coalesce(
            jsonb_agg(
                to_jsonb(proposal) || jsonb_build_object('meta_is_json_null', coalesce(proposal.meta = 'null', false))
                ORDER BY proposal.created_at, proposal.id
            ), '[]'
        )
        FROM public.atom_proposals AS proposal
        WHERE proposal.extraction_run_id = run.id
    )
FROM public.knowledge_extraction_runs AS run
WHERE run.id = ANY (%(runs)s) AND {kept_because} IS NULL
RETURNING id, jsonb_array_length(topic_proposals) AS topic_proposals, jsonb_array_length(atom_proposals) AS atom_proposals
