-- Rows that were created since dual write was proven and have no proposal (the strategy's query could not fail, because it read
-- only rows with a link). A row in quarantine has its own rule. One scan.
SELECT source.id, left(source.{label}, 80) AS label, source.created_at
FROM {table} AS source
LEFT JOIN migration.quarantine AS held ON held.entity = %(entity)s AND held.row_id = source.id
WHERE source.created_at >= %(since)s AND source.migrated_from_proposal_id IS NULL AND held.row_id IS NULL
