-- Every linked pair of these rows, value by value, NULL for NULL, summed up by key range: how many there
-- are, how many can be judged (nobody has written the row since it was linked), and the rows that differ. What a user has
-- edited since is not even looked at. One join.
SELECT
    compared.key_range,
    count(*) AS linked,
    count(*) FILTER (WHERE compared.judged) AS compared,
    count(*) FILTER (WHERE NOT compared.judged AND NOT compared.stamped) AS written_since_unstamped,
    coalesce(array_agg(compared.id) FILTER (WHERE compared.differs), ARRAY[]::bigint[]) AS differing
FROM (
    SELECT
        source.id::bigint AS id, source.id >> %(shift)s AS key_range, ({judged}) AS judged,
        coalesce(source.updated_at > source.migration_timestamp, false) AS stamped,
        CASE WHEN ({judged}) THEN ({differs}) ELSE false END AS differs
    FROM (
        SELECT {taken}, source.migrated_from_proposal_id, source.migration_timestamp, source.updated_at,
               source.xmin AS row_version, held.policy AS quarantine_policy
        FROM {rows}
        LEFT JOIN migration.quarantine AS held ON held.entity = %(entity)s AND held.row_id = source.id
    ) AS source
    JOIN {proposals} AS proposal ON proposal.id = source.migrated_from_proposal_id
) AS compared
GROUP BY compared.key_range
ORDER BY compared.key_range
