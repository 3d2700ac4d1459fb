-- name: ledger_batches
-- The batches of one table, according to the rows, without an intact entry of the ledger. An entry is intact if
-- the transaction that wrote it is its own, and the one that last wrote a row or a proposal of the batch: it is unchanged
-- since. `marked_rows` are those whose row and proposal still show one transaction, `uncertain_rows` those for which only
-- the entry could show whether they were changed since. Locks nothing.
WITH written AS MATERIALIZED ({written}), versions AS (
    SELECT written.moment, written.row_version AS version FROM written
    UNION
    SELECT written.moment, written.proposal_version FROM written
), intact AS (
    SELECT versions.moment
    FROM versions
    JOIN ({entries}) AS ledger ON ledger.version = versions.version
    WHERE ledger.entity = %(entity)s AND ledger.extraction_run_id = %(run)s AND NOT ledger.shares_transaction
)
SELECT
    written.moment, min(written.id) AS first_id, max(written.id) AS through_id, count(*) AS rows,
    count(*) - count(written.id) AS deleted_rows,
    count(*) FILTER (WHERE written.row_version = written.proposal_version) AS marked_rows,
    count(*) FILTER (WHERE written.row_version <> written.proposal_version AND NOT written.stamped) AS uncertain_rows
FROM written
WHERE NOT EXISTS (SELECT FROM intact WHERE intact.moment = written.moment)
GROUP BY written.moment
ORDER BY written.moment

-- name: ledger_correct
-- Corrects an entry from the rows of its batch; also writes an equal entry, so that it gets a transaction of its own.
UPDATE migration.backfill_batch
SET extraction_run_id = %(run)s, after_id = %(after_id)s, through_id = %(through_id)s, linked_rows = %(linked_rows)s
WHERE id = %(id)s

-- name: ledger_delete
-- Removes an entry without a batch, or one that repeats another entry. The audit log keeps its content.
DELETE FROM migration.backfill_batch WHERE id = %(id)s

-- name: ledger_entries
-- The entries of the ledger, each with its transaction and whether that is its own: two batches, or a batch and the
-- migration's run, have different ones. Part of the statements that rebuild the ledger.
SELECT entry.*, entry.xmin AS version,
       count(*) OVER (PARTITION BY entry.xmin::text) > 1
           OR entry.xmin IN (SELECT run.xmin FROM public.knowledge_extraction_runs AS run WHERE run.id = %(run)s)
           AS shares_transaction
FROM migration.backfill_batch AS entry

-- name: ledger_insert
-- Adds an entry for a batch that the rows show. The table belongs to the migration: no lock matters.
INSERT INTO migration.backfill_batch (
    entity, partition_key, extraction_run_id, after_id, through_id, linked_rows, seconds, committed_at
) VALUES (
    %(entity)s, %(partition_key)s, %(run)s, %(after_id)s, %(through_id)s, %(linked_rows)s, 0, %(committed_at)s
)

-- name: ledger_restored
-- Whether row versions (xmin) no longer say which batch wrote a row, as after a restore from a dump: one transaction wrote the
-- pairs of several batches (or of a batch and the migration's run), or rows as well as proposals of several batches, or no
-- pair was written by one transaction at all. Then no entry may get a transaction of its own. Two hash joins.
WITH written AS MATERIALIZED (
    {written}
), pairs AS (
    SELECT min(written.row_version::text) AS version
    FROM written
    WHERE written.row_version = written.proposal_version
    GROUP BY written.entity, written.moment
), marks AS (
    SELECT pairs.version FROM pairs
    UNION ALL
    SELECT run.xmin::text FROM public.knowledge_extraction_runs AS run WHERE run.id = %(run)s
)
SELECT
    NOT EXISTS (SELECT FROM pairs)
    OR (SELECT count(*) > count(DISTINCT marks.version) FROM marks)
    OR (
        EXISTS (
            SELECT FROM written GROUP BY written.row_version::text
            HAVING count(DISTINCT (written.entity, written.moment)) > 1 AND min(written.row_version::text) IS NOT NULL
        )
        AND EXISTS (
            SELECT FROM written GROUP BY written.proposal_version::text
            HAVING count(DISTINCT (written.entity, written.moment)) > 1
        )
    ) AS restored

-- name: ledger_suspects
-- Entries of the ledger for one table that are not intact (see ledger_batches); `doubles` is the id of the entry that it repeats.
WITH written AS MATERIALIZED ({written}), versions AS (
    SELECT written.row_version AS version FROM written
    UNION
    SELECT written.proposal_version FROM written
), judged AS MATERIALIZED (
    SELECT ledger.*,
           ledger.extraction_run_id = %(run)s AND NOT ledger.shares_transaction
               AND ledger.version IN (SELECT versions.version FROM versions WHERE versions.version IS NOT NULL) AS intact
    FROM ({entries}) AS ledger
    WHERE ledger.entity = %(entity)s
)
SELECT
    twins.id, twins.partition_key, twins.extraction_run_id, twins.after_id, twins.through_id, twins.linked_rows,
    twins.quarantined_rows, twins.seconds, twins.committed_at, twins.dagster_run_id, twins.shares_transaction,
    coalesce(twins.first_intact_id, nullif(twins.first_id, twins.id)) AS doubles
FROM (
    SELECT judged.*, min(judged.id) OVER same AS first_id, min(judged.id) FILTER (WHERE judged.intact) OVER same AS first_intact_id
    FROM judged
    WINDOW same AS (PARTITION BY judged.after_id, judged.through_id, judged.committed_at)
) AS twins
WHERE NOT twins.intact
ORDER BY twins.id

-- name: ledger_written
-- The rows that the migration's run has written to one table: the moment of the batch (all of a batch have that of its
-- transaction), and which transaction last wrote the row and the proposal. Where a user has deleted the row since, only the
-- proposal is left. Part of the statements that rebuild the ledger. One hash join.
SELECT {entity} AS entity, coalesce(source.migration_timestamp, proposal.created_at) AS moment, source.id,
       source.xmin AS row_version, proposal.xmin AS proposal_version,
       coalesce(source.updated_at > source.migration_timestamp, false) AS stamped
FROM {proposals} AS proposal
LEFT JOIN {table} AS source ON source.migrated_from_proposal_id = proposal.id
WHERE proposal.extraction_run_id = %(run)s

-- name: set_run_status
-- Sets the status of the migration's run to the actual one, unless it has changed since it was read.
UPDATE public.knowledge_extraction_runs
SET status = %(after)s::text,
    completed_at = CASE WHEN %(after)s::text = 'completed' THEN completed_at END,
    error_message = NULL
WHERE id = migration.origin_proposal_id('knowledge_extraction_runs', 0) AND status = coalesce(%(before)s::text, status)
