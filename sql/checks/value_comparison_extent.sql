-- How many pairs the value comparison can judge, and how many a user has edited since they were linked.
SELECT
    count(*) AS linked,
    count(*) FILTER (
        WHERE entity.xmin = proposal.xmin
          AND (entity.updated_at IS NULL OR entity.updated_at <= entity.migration_timestamp)
    ) AS compared,
    count(*) FILTER (WHERE entity.updated_at > entity.migration_timestamp) AS edited_since
FROM {table} AS entity
JOIN {proposals} AS proposal ON proposal.id = entity.migrated_from_proposal_id
