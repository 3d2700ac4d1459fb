-- What the migration's run has written to one table, row by row: the moment of the batch (all of a batch have that of its
-- transaction), and which transaction last wrote the row and the proposal. Where a user has deleted the row since, only the
-- proposal is left. Part of the statements that rebuild the ledger. One hash join.
SELECT {entity} AS entity, coalesce(source.migration_timestamp, proposal.created_at) AS moment, source.id,
       source.xmin AS row_version, proposal.xmin AS proposal_version,
       coalesce(source.updated_at > source.migration_timestamp, false) AS stamped
FROM {proposals} AS proposal
LEFT JOIN {table} AS source ON source.migrated_from_proposal_id = proposal.id
WHERE proposal.extraction_run_id = %(run)s
