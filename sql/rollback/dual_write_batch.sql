-- Takes back one batch of the shadows: clears the links of rows that were written directly and deletes their proposals, in
-- one statement. What a reviewer decided about is no shadow and stays. Uses the index on (status, confidence) for the
-- proposals and the unique index of the link for their rows; rows that a user holds are skipped or waited for.
WITH shadows AS MATERIALIZED (
    SELECT proposal.id
    FROM {proposals} AS proposal
    WHERE proposal.status IN ('approved', 'auto_approved') AND proposal.review_action = 'dual_write'
      AND proposal.id > %(after)s
    ORDER BY proposal.id
    LIMIT %(batch_size)s
), held AS MATERIALIZED (
    SELECT source.id, source.migrated_from_proposal_id AS proposal_id
    FROM {table} AS source
    JOIN shadows ON source.migrated_from_proposal_id = shadows.id
    ORDER BY source.id
    FOR NO KEY UPDATE OF source {skip_locked}
), unlinked AS (
    UPDATE {table} AS target
    SET migrated_from_proposal_id = NULL, migration_timestamp = NULL
    FROM held
    WHERE target.id = held.id
    RETURNING target.id
), free AS (
    SELECT shadows.id FROM shadows
    WHERE EXISTS (SELECT FROM held WHERE held.proposal_id = shadows.id)
       OR NOT EXISTS (SELECT FROM {table} AS source WHERE source.migrated_from_proposal_id = shadows.id)
), deleted AS (
    DELETE FROM {proposals} AS proposal
    USING free
    WHERE proposal.id = free.id
    RETURNING proposal.id
)
SELECT (SELECT id FROM shadows ORDER BY id DESC LIMIT 1) AS through_id, (SELECT count(*) FROM unlinked) AS unlinked_rows,
       (SELECT count(*) FROM deleted) AS deleted_rows
