-- The proposals of these runs, but for those whose row had to stay, and those that a person has decided about.
DELETE FROM {proposals} AS proposal
WHERE proposal.extraction_run_id = ANY (%(run_ids)s)
  AND NOT EXISTS (SELECT FROM {table} AS row WHERE row.migrated_from_proposal_id = proposal.id)
  AND NOT (
      coalesce(proposal.review_action, '') IN ('approve', 'reject', 'merge', 'undo')
      AND proposal.review_notes IS DISTINCT FROM %(name)s
  )
