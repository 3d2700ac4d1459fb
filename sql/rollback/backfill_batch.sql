-- Takes back one batch of the backfill: clears the links that belong to its run and deletes those proposals, in one
-- statement, so that neither is ever seen without the other. Walks {table} by primary key; proposals of other runs
-- (dual-written ones) are not touched. Relies on the unique index of the link: without it each delete would scan.
WITH linked AS MATERIALIZED (
    SELECT source.id, source.migrated_from_proposal_id AS proposal_id
    FROM {table} AS source
    WHERE source.id > %(after)s AND source.migrated_from_proposal_id IS NOT NULL
    ORDER BY source.id
    LIMIT %(batch_size)s
    FOR NO KEY UPDATE OF source {skip_locked}
), ours AS (
    SELECT linked.id, linked.proposal_id
    FROM linked
    JOIN {proposals} AS proposal ON proposal.id = linked.proposal_id
    WHERE proposal.extraction_run_id = %(run)s
), unlinked AS (
    UPDATE {table} AS target
    SET migrated_from_proposal_id = NULL, migration_timestamp = NULL
    FROM ours
    WHERE target.id = ours.id
    RETURNING target.id
), deleted AS (
    DELETE FROM {proposals} AS proposal
    USING ours
    WHERE proposal.id = ours.proposal_id
    RETURNING proposal.id
)
SELECT
    (SELECT max(id) FROM linked) AS through_id,
    (SELECT count(*) FROM unlinked) AS unlinked_rows,
    (SELECT count(*) FROM deleted) AS deleted_rows
