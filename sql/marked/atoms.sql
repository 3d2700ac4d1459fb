-- The atoms that came into being through the proposals of these runs, locked, and why one has to stay: NULL where nobody has touched
-- it. What existed before is the origin of none of them. Uses the indexes on the proposals' run and on the link.
SELECT
    row.id,
    CASE
        WHEN proposal.review_action IN ('approve', 'reject', 'merge', 'undo') AND proposal.review_notes IS DISTINCT FROM %(name)s
            THEN 'a person has decided about its proposal'
        WHEN row.updated_at IS DISTINCT FROM row.created_at
            OR (row.type, row.title, row.content, row.meta::jsonb, row.confidence)
                IS DISTINCT FROM (proposal.type, proposal.title, proposal.content, proposal.meta, proposal.confidence)
            THEN 'somebody has changed it'
        WHEN EXISTS (
            SELECT FROM public.atom_proposals AS other
            WHERE other.similar_atom_id = row.id AND other.extraction_run_id <> ALL (%(run_ids)s)
        ) THEN 'a proposal is compared with it'
        WHEN EXISTS (
            SELECT FROM public.topic_atoms AS filed WHERE filed.atom_id = row.id AND coalesce(filed.note, '') NOT LIKE 'Extracted%%'
        ) THEN 'somebody has filed it under a topic'
    END AS kept_because
FROM public.atoms AS row
JOIN public.atom_proposals AS proposal ON proposal.id = row.migrated_from_proposal_id
WHERE proposal.extraction_run_id = ANY (%(run_ids)s)
ORDER BY row.id
FOR UPDATE OF row
