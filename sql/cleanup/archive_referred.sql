-- Runs whose proposals are named by a proposal of another run, as its topic or as the other end of a link. Texts that are no
-- id of ours match nothing. One scan of atom_proposals.
WITH named AS (
    SELECT proposal.extraction_run_id AS run_id, topic.value AS id
    FROM public.atom_proposals AS proposal
    CROSS JOIN LATERAL jsonb_array_elements_text(
        CASE jsonb_typeof(proposal.proposed_topic_ids) WHEN 'array' THEN proposal.proposed_topic_ids ELSE '[]' END
    ) AS topic
    UNION ALL
    SELECT proposal.extraction_run_id, link.value ->> 'proposal'
    FROM public.atom_proposals AS proposal
    CROSS JOIN LATERAL jsonb_array_elements(
        CASE jsonb_typeof(proposal.proposed_links) WHEN 'array' THEN proposal.proposed_links ELSE '[]' END
    ) AS link
)
SELECT DISTINCT target.extraction_run_id AS id
FROM named
JOIN (
    SELECT id::text AS id, extraction_run_id FROM public.topic_proposals
    UNION ALL
    SELECT id::text, extraction_run_id FROM public.atom_proposals
) AS target ON target.id = lower(named.id)
WHERE target.extraction_run_id <> named.run_id
