-- Rows that were created since dual write was proven and have no proposal (the strategy's query could not fail, because it read
-- only rows with a link). One scan.
SELECT source.id, left(source.{label}, 80) AS label, source.created_at
FROM {table} AS source
WHERE source.created_at >= %(since)s AND source.migrated_from_proposal_id IS NULL
