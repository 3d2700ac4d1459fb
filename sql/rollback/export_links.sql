-- Every link of a legacy row to its proposal, as JSON. Relies on the index of the link.
SELECT jsonb_build_object(
    'id', linked.id,
    'migrated_from_proposal_id', linked.migrated_from_proposal_id,
    'migration_timestamp', linked.migration_timestamp
) AS row
FROM {table} AS linked
WHERE linked.migrated_from_proposal_id IS NOT NULL
