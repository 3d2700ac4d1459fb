-- A link without its time, or a time without a link; both are written and cleared together. One scan.
SELECT source.id, left(source.{label}, 80) AS label, source.migrated_from_proposal_id, source.migration_timestamp
FROM {table} AS source
WHERE (source.migrated_from_proposal_id IS NULL) <> (source.migration_timestamp IS NULL)
