-- How many rows of an id range still wait for their proposal (quarantined ones do not). Reads the range by primary key.
SELECT count(*) AS rows, min(source.id) AS first_id
FROM {table} AS source
WHERE source.id > %(after)s
  AND source.id <= %(through)s
  AND source.migrated_from_proposal_id IS NULL
  AND source.id NOT IN (
      SELECT held.row_id FROM migration.quarantine AS held
      WHERE held.entity = %(entity)s AND held.state IN ('open', 'accepted')
  )
