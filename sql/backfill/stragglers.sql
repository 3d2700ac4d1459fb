-- Rows above the backfill's bound that have been without a proposal for some minutes and are in no quarantine: an old writer
-- left them so. Walks the primary key from the bound.
SELECT count(*) AS rows, coalesce(max(source.id), 0) AS last_id
FROM {table} AS source
LEFT JOIN migration.quarantine AS held ON held.entity = %(entity)s AND held.row_id = source.id
WHERE source.id > %(above)s AND source.migrated_from_proposal_id IS NULL AND held.row_id IS NULL
  AND coalesce(source.created_at, '-infinity') < clock_timestamp() - make_interval(secs => %(seconds)s)
