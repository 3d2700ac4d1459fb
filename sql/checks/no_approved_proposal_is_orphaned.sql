-- Approved proposals that no row has as its origin (the strategy's check 4 could not see them). Not orphaned: one that
-- matched an existing row of exactly that name, and a backfilled one whose row a user has deleted since (its id follows
-- from the row, so the row can be looked for).
SELECT proposal.id, left(proposal.{label}, 80) AS label, proposal.status, proposal.review_action, origin.id AS row_id
FROM {proposals} AS proposal
LEFT JOIN {table} AS linked ON linked.migrated_from_proposal_id = proposal.id
LEFT JOIN {table} AS origin ON migration.origin_proposal_id({table_name}, origin.id) = proposal.id
WHERE proposal.status IN ('approved', 'auto_approved')
  AND linked.id IS NULL
  AND (proposal.{similar} IS NULL OR proposal.similarity_type IS DISTINCT FROM 'exact')
  AND (proposal.review_action IS DISTINCT FROM 'auto_approve_migration' OR origin.id IS NOT NULL)
