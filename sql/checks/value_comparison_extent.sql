-- How many pairs the value comparison can judge, how many rows a user has edited since they were linked, and how many were
-- written since without a new updated_at.
SELECT
    count(*) AS linked,
    count(*) FILTER (WHERE extent.judged) AS compared,
    count(*) FILTER (WHERE NOT extent.judged AND extent.stamped) AS edited_since,
    count(*) FILTER (WHERE NOT extent.judged AND NOT extent.stamped) AS written_since_unstamped
FROM (
    SELECT ({judged}) AS judged, coalesce(source.updated_at > source.migration_timestamp, false) AS stamped
    FROM (
        SELECT source.migrated_from_proposal_id, source.migration_timestamp, source.updated_at, source.xmin AS row_version
        FROM {table} AS source
    ) AS source
    JOIN {proposals} AS proposal ON proposal.id = source.migrated_from_proposal_id
) AS extent
