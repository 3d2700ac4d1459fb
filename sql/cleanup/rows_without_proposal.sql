-- Rows of {table} without a proposal, accepted quarantine included: none of them may be there when the database is to refuse
-- such rows. One scan.
SELECT source.id, left(source.{label}, 80) AS label, source.created_at, held.state AS quarantine
FROM {table} AS source
LEFT JOIN migration.quarantine AS held ON held.entity = %(entity)s AND held.row_id = source.id
WHERE source.migrated_from_proposal_id IS NULL
ORDER BY source.id
