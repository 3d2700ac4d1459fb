-- Deletes a batch of the run's proposals that no row refers to any more (a user deleted the row after it was migrated).
DELETE FROM {proposals} AS proposal
WHERE proposal.id IN (
    SELECT leftover.id
    FROM {proposals} AS leftover
    WHERE leftover.extraction_run_id = %(run)s
      AND NOT EXISTS (SELECT FROM {table} AS source WHERE source.migrated_from_proposal_id = leftover.id)
    LIMIT %(batch_size)s
)
