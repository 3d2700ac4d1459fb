-- The proposals of one run with the row that each names as its own, and whether the two have equal values.
SELECT 'topic' AS entity, proposal.id AS proposal_id, proposal.status, proposal.entity_id, row.id AS linked_id,
       (proposal.name, proposal.description, proposal.icon, proposal.color)
           IS NOT DISTINCT FROM (row.name, row.description, row.icon, row.color) AS equal
FROM public.topic_proposals AS proposal
LEFT JOIN public.topics AS row ON row.migrated_from_proposal_id = proposal.id
WHERE proposal.extraction_run_id = %(run)s
UNION ALL
SELECT 'atom', proposal.id, proposal.status, proposal.entity_id, row.id,
       (proposal.type, proposal.title, proposal.content, proposal.meta, proposal.confidence)
           IS NOT DISTINCT FROM (row.type, row.title, row.content, row.meta::jsonb, row.confidence)
FROM public.atom_proposals AS proposal
LEFT JOIN public.atoms AS row ON row.migrated_from_proposal_id = proposal.id
WHERE proposal.extraction_run_id = %(run)s
