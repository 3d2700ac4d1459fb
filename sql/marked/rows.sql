-- The rows that came into being through the proposals of these runs; what existed before is the origin of none. Atoms first.
SELECT 'atom' AS entity, row.id FROM public.atoms AS row
JOIN public.atom_proposals AS proposal ON proposal.id = row.migrated_from_proposal_id
WHERE proposal.extraction_run_id = ANY (%(run_ids)s)
UNION ALL
SELECT 'topic', row.id FROM public.topics AS row
JOIN public.topic_proposals AS proposal ON proposal.id = row.migrated_from_proposal_id
WHERE proposal.extraction_run_id = ANY (%(run_ids)s)
