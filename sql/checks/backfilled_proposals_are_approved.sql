-- Backfilled proposals that are not approved, or reviewed before they were made (strategy §5.3).
SELECT proposal.id, left(proposal.{label}, 80) AS label, proposal.status, proposal.created_at, proposal.reviewed_at
FROM {proposals} AS proposal
WHERE proposal.review_action = 'auto_approve_migration'
  AND (
      proposal.status <> 'approved'
      OR proposal.reviewed_at IS NULL
      OR proposal.reviewed_at < proposal.created_at
  )
