-- The next single row that a batch would take, locked: to tell exactly which row it is that cannot become a proposal.
SELECT source.id
FROM {table} AS source
LEFT JOIN migration.quarantine AS held ON held.entity = %(entity)s AND held.row_id = source.id
WHERE source.id > %(after)s
  AND source.id <= %(through)s
  AND source.migrated_from_proposal_id IS NULL
  AND (held.state IS NULL OR held.state IN ('retry', 'resolved'))
ORDER BY source.id
LIMIT 1
FOR NO KEY UPDATE OF source {skip_locked}
