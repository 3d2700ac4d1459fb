-- Pairs whose values differ, column by column and NULL-safe, although nobody has edited them since they were written.
-- A pair that one transaction wrote has equal xmin; a later edit changes it on the row (any UPDATE does, also one that
-- forgets updated_at). After a dump and restore xmin says nothing: then updated_at after the link excuses a difference.
SELECT
    source.id, left(source.{label}, 80) AS label, source.proposal_id,
    concat_ws(', ', {differing}) AS differing_columns, source.updated_at, source.migration_timestamp
FROM (
    SELECT entity.*, entity.xmin AS row_version, proposal.xmin AS proposal_version, proposal.id AS proposal_id,
           held.policy AS quarantine_policy
    FROM {table} AS entity
    JOIN {proposals} AS proposal ON proposal.id = entity.migrated_from_proposal_id
    LEFT JOIN migration.quarantine AS held ON held.entity = %(entity)s AND held.row_id = entity.id
) AS source
JOIN {proposals} AS proposal ON proposal.id = source.proposal_id
WHERE source.row_version = source.proposal_version
  AND (source.updated_at IS NULL OR source.updated_at <= source.migration_timestamp)
  AND ({differs})
