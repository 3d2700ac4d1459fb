-- Pairs whose values differ, column by column and NULL-safe, although the row was not written since it was linked. Rows edited
-- since are not compared, because jsonb may be unable to hold their meta. One hash join.
SELECT
    compared.id, compared.label, compared.proposal_id, compared.differing_columns, compared.updated_at,
    compared.migration_timestamp
FROM (
    SELECT
        source.id, left(source.{label}, 80) AS label, proposal.id AS proposal_id, source.updated_at,
        source.migration_timestamp,
        CASE WHEN ({judged}) AND ({differs}) THEN concat_ws(', ', {differing}) END AS differing_columns
    FROM (
        SELECT {taken}, source.migrated_from_proposal_id, source.migration_timestamp, source.updated_at,
               source.xmin AS row_version, held.policy AS quarantine_policy
        FROM {table} AS source
        LEFT JOIN migration.quarantine AS held ON held.entity = %(entity)s AND held.row_id = source.id
    ) AS source
    JOIN {proposals} AS proposal ON proposal.id = source.migrated_from_proposal_id
) AS compared
WHERE compared.differing_columns IS NOT NULL
