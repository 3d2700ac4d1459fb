-- Quarantined rows without a decision; a row that a user has deleted, or that has its proposal, needs none. An acceptance
-- counts only with its entry in the audit log.
WITH accepted AS (
    SELECT entry.after ->> 'entity' AS entity, row_id.id::bigint AS row_id
    FROM migration.audit_log AS entry
    CROSS JOIN LATERAL jsonb_array_elements_text(entry.after -> 'row_ids') AS row_id (id)
    WHERE entry.action = 'quarantine accept'
)
SELECT held.entity, held.row_id, held.state, held.sqlstate, held.reason, held.found_at
FROM migration.quarantine AS held
LEFT JOIN public.topics AS topic ON held.entity = 'topic' AND topic.id = held.row_id
LEFT JOIN public.atoms AS atom ON held.entity = 'atom' AND atom.id = held.row_id
WHERE (
    held.state IN ('open', 'retry')
    OR (
        held.state = 'accepted'
        AND NOT EXISTS (SELECT FROM accepted WHERE accepted.entity = held.entity AND accepted.row_id = held.row_id)
    )
)
  AND coalesce(topic.id, atom.id) IS NOT NULL
  AND coalesce(topic.migrated_from_proposal_id, atom.migrated_from_proposal_id) IS NULL
