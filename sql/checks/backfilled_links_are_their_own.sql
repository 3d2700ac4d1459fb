-- Rows whose origin is the backfilled proposal of another row: the id of a backfilled proposal follows from its row, so
-- exchanged links are found. One hash join.
SELECT source.id, left(source.{label}, 80) AS label, source.migrated_from_proposal_id
FROM {table} AS source
JOIN {proposals} AS proposal ON proposal.id = source.migrated_from_proposal_id
WHERE proposal.extraction_run_id = migration.origin_proposal_id('knowledge_extraction_runs', 0)
  AND proposal.id <> migration.origin_proposal_id({table_name}, source.id)
