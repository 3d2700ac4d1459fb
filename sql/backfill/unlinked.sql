-- How many rows of an id range still wait for their proposal (quarantined ones do not). Reads the range by primary key.
SELECT count(*) AS rows, min(source.id) AS first_id
FROM {table} AS source
LEFT JOIN migration.quarantine AS held ON held.entity = %(entity)s AND held.row_id = source.id
WHERE source.id > %(after)s
  AND source.id <= %(through)s
  AND source.migrated_from_proposal_id IS NULL
  AND (held.state IS NULL OR held.state IN ('retry', 'resolved'))
