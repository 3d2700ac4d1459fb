-- Backfilled proposals that are not approved, or reviewed before they were created (strategy §5.3): those with the action of
-- the migration, and all of the migration's run that are the origin of a row.
SELECT proposal.id, left(proposal.{label}, 80) AS label, proposal.status, proposal.review_action, proposal.created_at,
       proposal.reviewed_at
FROM {proposals} AS proposal
WHERE (
      proposal.status <> 'approved'
      OR proposal.reviewed_at IS NULL
      OR proposal.reviewed_at < proposal.created_at
  )
  AND (
      proposal.review_action = 'auto_approve_migration'
      OR (
          proposal.extraction_run_id = migration.origin_proposal_id('knowledge_extraction_runs', 0)
          AND EXISTS (SELECT FROM {table} AS source WHERE source.migrated_from_proposal_id = proposal.id)
      )
  )
