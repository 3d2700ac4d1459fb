-- Rows without a proposal, except those whose quarantine is accepted (strategy §9.1, checks 1 and 2). One scan.
SELECT source.id, left(source.{label}, 80) AS label, source.created_at, held.state AS quarantine
FROM {table} AS source
LEFT JOIN migration.quarantine AS held ON held.entity = %(entity)s AND held.row_id = source.id
WHERE source.migrated_from_proposal_id IS NULL
  AND held.state IS DISTINCT FROM 'accepted'
