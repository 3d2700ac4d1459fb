-- Rows with their proposal and without it, counted. One scan; the caller bounds its time.
SELECT
    count(*) FILTER (WHERE source.migrated_from_proposal_id IS NOT NULL) AS linked,
    count(*) FILTER (WHERE source.migrated_from_proposal_id IS NULL) AS unlinked
FROM {table} AS source
