-- The topics that came into being through the proposals of these runs, locked, and why one has to stay: NULL where nobody has
-- touched it. An atom or a message that somebody filed under it stops its deletion by itself; a proposed atom only names it.
SELECT
    row.id,
    CASE
        WHEN proposal.review_action IN ('approve', 'reject', 'merge', 'undo') AND proposal.review_notes IS DISTINCT FROM %(name)s
            THEN 'a person has decided about its proposal'
        WHEN row.updated_at IS DISTINCT FROM row.created_at
            OR (row.name, row.description, row.icon, row.color)
                IS DISTINCT FROM (proposal.name, proposal.description, proposal.icon, proposal.color)
            THEN 'somebody has changed it'
        WHEN EXISTS (
            SELECT FROM public.topic_proposals AS other
            WHERE other.similar_topic_id = row.id AND other.extraction_run_id <> ALL (%(run_ids)s)
        ) THEN 'a proposal is compared with it'
        WHEN EXISTS (
            SELECT FROM public.atom_proposals AS other
            WHERE other.created_at >= %(since)s - interval '1 minute' AND other.extraction_run_id <> ALL (%(run_ids)s)
              AND other.proposed_topic_ids @> to_jsonb(row.id)
        ) THEN 'a proposed atom is for it'
    END AS kept_because
FROM public.topics AS row
JOIN public.topic_proposals AS proposal ON proposal.id = row.migrated_from_proposal_id
WHERE proposal.extraction_run_id = ANY (%(run_ids)s)
ORDER BY row.id
FOR UPDATE OF row
