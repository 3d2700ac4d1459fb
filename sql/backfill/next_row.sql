-- The next single row that a batch would take, locked: to tell exactly which row it is that cannot become a proposal.
SELECT source.id
FROM {table} AS source
WHERE source.id > %(after)s
  AND source.id <= %(through)s
  AND source.migrated_from_proposal_id IS NULL
  AND source.id NOT IN (
      SELECT held.row_id FROM migration.quarantine AS held
      WHERE held.entity = %(entity)s AND held.state IN ('open', 'accepted')
  )
ORDER BY source.id
LIMIT 1
FOR NO KEY UPDATE OF source {skip_locked}
