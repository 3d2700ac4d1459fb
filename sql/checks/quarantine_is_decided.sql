-- Quarantined rows without a decision; a row that a user has deleted, or that has its proposal, needs none.
SELECT held.entity, held.row_id, held.state, held.sqlstate, held.reason, held.found_at
FROM migration.quarantine AS held
LEFT JOIN public.topics AS topic ON held.entity = 'topic' AND topic.id = held.row_id
LEFT JOIN public.atoms AS atom ON held.entity = 'atom' AND atom.id = held.row_id
WHERE held.state IN ('open', 'retry')
  AND coalesce(topic.id, atom.id) IS NOT NULL
  AND coalesce(topic.migrated_from_proposal_id, atom.migrated_from_proposal_id) IS NULL
