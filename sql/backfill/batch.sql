-- One backfill batch, one statement, one transaction: locks the next rows without a proposal, inserts their proposals,
-- links them and writes the ledger (strategy §5; POSTGRES rules 10, 11, 13-15).
-- Walks the primary key of {table} from %(after)s; FOR NO KEY UPDATE, so that foreign key checks of users go on, and so
-- that the values copied are those of the row that is linked. The id follows from the row: a second proposal cannot
-- exist. One that lost its link makes a plain insert fail; the batch is then run again with an ON CONFLICT clause that
-- refreshes it (always having that clause cost a tenth of the speed).
WITH locked AS MATERIALIZED (
    SELECT {taken}, migration.origin_proposal_id({table_name}, source.id) AS proposal_id
    FROM {table} AS source
    WHERE {pending}
    ORDER BY source.id
    LIMIT %(batch_size)s
    FOR NO KEY UPDATE OF source {skip_locked}
), inserted AS (
    INSERT INTO {proposals} (
        id, extraction_run_id, {columns}, status, reasoning, review_action, review_notes, reviewed_at, created_at
    )
    SELECT
        source.proposal_id, %(run)s, {values}, 'approved',
        'Migrated from existing production data', 'auto_approve_migration',
        'Backfilled during migration to proposal system'
            || CASE WHEN source.quarantine_policy = 'clamp_confidence'
               THEN '; confidence clamped to 0..1 by decision of an operator' ELSE '' END,
        now(), now()
    FROM (
        SELECT locked.*, held.policy AS quarantine_policy
        FROM locked
        LEFT JOIN migration.quarantine AS held ON held.entity = %(entity)s AND held.row_id = locked.id
    ) AS source
    {on_conflict}
    RETURNING id
), linked AS (
    UPDATE {table} AS target
    SET migrated_from_proposal_id = locked.proposal_id, migration_timestamp = now()
    FROM locked
    WHERE target.id = locked.id
    RETURNING target.id
), resolved AS (
    UPDATE migration.quarantine AS held
    SET state = 'resolved'
    FROM linked
    WHERE held.entity = %(entity)s AND held.row_id = linked.id AND held.state = 'retry'
)
INSERT INTO migration.backfill_batch (
    entity, partition_key, extraction_run_id, after_id, through_id, linked_rows, seconds, dagster_run_id
)
SELECT
    %(entity)s, %(partition)s, %(run)s, %(after)s, max(id), count(*),
    extract(epoch FROM clock_timestamp() - now()), %(dagster_run_id)s
FROM linked
HAVING count(*) > 0
RETURNING linked_rows, through_id
