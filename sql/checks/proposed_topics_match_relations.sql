-- Backfilled atom proposals whose proposed topics differ from the atom's relations at that time: later relations do not count.
-- To a captured proposal later relations are added.
-- A relation that a user has removed since appears here, so this rule only warns.
SELECT atom.id, left(atom.title, 80) AS label, proposal.proposed_topic_ids, related.topic_ids
FROM public.atoms AS atom
JOIN public.atom_proposals AS proposal ON proposal.id = atom.migrated_from_proposal_id
CROSS JOIN LATERAL (
    SELECT coalesce(jsonb_agg(topic_atoms.topic_id ORDER BY topic_atoms.topic_id), '[]'::jsonb) AS topic_ids
    FROM public.topic_atoms
    WHERE topic_atoms.atom_id = atom.id
      AND (
          topic_atoms.created_at IS NULL
          OR topic_atoms.created_at <= atom.migration_timestamp
          OR proposal.extraction_run_id <> migration.origin_proposal_id('knowledge_extraction_runs', 0)
      )
) AS related
WHERE proposal.review_action = 'auto_approve_migration'
  AND proposal.proposed_topic_ids IS DISTINCT FROM related.topic_ids
