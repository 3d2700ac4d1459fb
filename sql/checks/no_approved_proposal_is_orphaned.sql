-- Approved proposals that no row has as its origin (the strategy's check 4 could not find them). Not orphaned: a
-- proposal that matched an existing row exactly (similarity_type stays when a user deletes that row), and one whose row a user
-- has deleted since. entity_id names that row, or the id of a backfilled proposal, which is derived from it. Hash joins.
SELECT proposal.id, left(proposal.{label}, 80) AS label, proposal.status, proposal.review_action,
       coalesce(copied.id, made.id) AS row_id
FROM {proposals} AS proposal
LEFT JOIN {table} AS linked ON linked.migrated_from_proposal_id = proposal.id
LEFT JOIN {table} AS copied ON migration.origin_proposal_id({table_name}, copied.id) = proposal.id
LEFT JOIN {table} AS made ON made.id = proposal.entity_id
WHERE proposal.status IN ('approved', 'auto_approved')
  AND linked.id IS NULL
  AND CASE
      WHEN proposal.review_action = 'auto_approve_migration' THEN copied.id IS NOT NULL
      WHEN proposal.entity_id IS NOT NULL THEN made.id IS NOT NULL
      ELSE proposal.similarity_type IS DISTINCT FROM 'exact'
  END
