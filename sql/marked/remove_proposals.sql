-- The proposals of these runs, but for those whose row had to stay.
DELETE FROM {proposals} AS proposal
WHERE proposal.extraction_run_id = ANY (%(run_ids)s)
  AND NOT EXISTS (SELECT FROM {table} AS row WHERE row.migrated_from_proposal_id = proposal.id)
