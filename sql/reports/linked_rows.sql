-- Rows with their proposal, and rows that still need one (accepted quarantine does not). One scan.
SELECT
    count(*) FILTER (WHERE source.migrated_from_proposal_id IS NOT NULL) AS linked,
    count(*) FILTER (WHERE source.migrated_from_proposal_id IS NULL AND held.state IS DISTINCT FROM 'accepted') AS unlinked
FROM {table} AS source
LEFT JOIN migration.quarantine AS held ON held.entity = %(entity)s AND held.row_id = source.id
