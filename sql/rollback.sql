-- name: archived_rows
-- The number of archived extractions; they exist nowhere else. One scan.
SELECT count(*) AS rows FROM {table}

-- name: backfill_batch
-- Rolls back one batch of the backfill: clears the links to proposals of its run and deletes these proposals, in one
-- statement, so that neither is visible without the other. Reads {table} in primary key order; proposals of other runs
-- (dual-written ones) are not touched. Relies on the unique index of the link: without it each delete would scan.
WITH linked AS MATERIALIZED (
    SELECT source.id, source.migrated_from_proposal_id AS proposal_id{before}
    FROM {table} AS source
    WHERE source.id > %(after)s AND source.migrated_from_proposal_id IS NOT NULL
    ORDER BY source.id
    LIMIT %(batch_size)s
    FOR NO KEY UPDATE OF source {skip_locked}
), held AS (
    SELECT linked.*
    FROM linked
    JOIN {proposals} AS proposal ON proposal.id = linked.proposal_id
    WHERE proposal.extraction_run_id = %(run)s
), unlinked AS (
    UPDATE {table} AS target
    SET migrated_from_proposal_id = NULL, migration_timestamp = NULL
    FROM held
    WHERE target.id = held.id
    RETURNING target.id{altered}
), deleted AS (
    DELETE FROM {proposals} AS proposal
    USING held
    WHERE proposal.id = held.proposal_id
    RETURNING proposal.id
)
SELECT
    (SELECT max(id) FROM linked) AS through_id,
    (SELECT count(*) FROM unlinked) AS unlinked_rows,
    (SELECT {altered_rows} FROM unlinked) AS altered_rows,
    (SELECT count(*) FROM deleted) AS deleted_rows

-- name: backfill_first_linked
-- The first row that still names a proposal of the migration's run; NULL when none does. Relies on the index of runs in
-- the proposals and on the unique index of the link.
SELECT min(source.id) AS first_id
FROM {proposals} AS proposal
JOIN {table} AS source ON source.migrated_from_proposal_id = proposal.id
WHERE proposal.extraction_run_id = %(run)s

-- name: backfill_leftovers
-- Deletes a batch of the run's proposals that no row refers to any more (a user deleted the row after it was migrated).
WITH deleted AS (
    DELETE FROM {proposals} AS proposal
    WHERE proposal.id IN (
        SELECT leftover.id
        FROM {proposals} AS leftover
        WHERE leftover.extraction_run_id = %(run)s
          AND NOT EXISTS (SELECT FROM {table} AS source WHERE source.migrated_from_proposal_id = leftover.id)
        LIMIT %(batch_size)s
    )
    RETURNING proposal.id
)
SELECT count(*) AS rows FROM deleted

-- name: backfill_records
-- Removes the run and the ledger of a backfill whose proposals are deleted. Decisions on quarantined rows stay for the
-- next backfill: rows that were resolved under a policy are tried again under it.
WITH emptied AS (
    DELETE FROM migration.backfill_batch WHERE extraction_run_id = %(run)s
), again AS (
    UPDATE migration.quarantine SET state = 'retry' WHERE state = 'resolved'
)
DELETE FROM public.knowledge_extraction_runs WHERE id = %(run)s

-- name: backfill_remaining
-- The number of proposals of the migration's run in one table.
SELECT count(*) AS rows FROM {proposals} WHERE extraction_run_id = %(run)s

-- name: captured_runs
-- Deletes the runs of the capture that have no proposal any more. Uses the index of the proposals' run.
DELETE FROM public.knowledge_extraction_runs AS run
WHERE run.settings ->> 'mode' = 'captured'
  AND NOT EXISTS (SELECT FROM public.topic_proposals AS proposal WHERE proposal.extraction_run_id = run.id)
  AND NOT EXISTS (SELECT FROM public.atom_proposals AS proposal WHERE proposal.extraction_run_id = run.id)

-- name: dual_write_batch
-- Rolls back one batch of the shadows: clears the links of rows that were written directly and deletes their proposals, in
-- one statement, which also writes each deleted proposal to the audit log: its confidence, reasoning and messages exist nowhere
-- else. A proposal that a reviewer has decided is no shadow and stays. Uses the index on (status, confidence) for
-- the proposals and the unique index of the link for their rows; rows that a user holds are skipped or waited for.
WITH shadows AS MATERIALIZED (
    SELECT proposal.id
    FROM {proposals} AS proposal
    WHERE proposal.status IN ('approved', 'auto_approved') AND ({is_shadow}) AND proposal.id > %(after)s
    ORDER BY proposal.id
    LIMIT %(batch_size)s
), held AS MATERIALIZED (
    SELECT source.id, source.migrated_from_proposal_id AS proposal_id{before}
    FROM {table} AS source
    JOIN shadows ON source.migrated_from_proposal_id = shadows.id
    ORDER BY source.id
    FOR NO KEY UPDATE OF source {skip_locked}
), unlinked AS (
    UPDATE {table} AS target
    SET migrated_from_proposal_id = NULL, migration_timestamp = NULL
    FROM held
    WHERE target.id = held.id
    RETURNING target.id{altered}
), free AS (
    SELECT shadows.id FROM shadows
    WHERE EXISTS (SELECT FROM held WHERE held.proposal_id = shadows.id)
       OR NOT EXISTS (SELECT FROM {table} AS source WHERE source.migrated_from_proposal_id = shadows.id)
), deleted AS (
    DELETE FROM {proposals} AS proposal
    USING free
    WHERE proposal.id = free.id
      AND proposal.status IN ('approved', 'auto_approved') AND ({is_shadow}) -- again: a reviewer may have changed it meanwhile
    RETURNING proposal.id, to_jsonb(proposal) AS content
), recorded AS (
    INSERT INTO migration.audit_log (actor, action, subject, before, reason, dagster_run_id)
    SELECT %(actor)s, %(action)s, %(subject)s || deleted.id,
           jsonb_build_object('proposal', deleted.content, 'row_id', held.id), %(reason)s, %(dagster_run_id)s
    FROM deleted LEFT JOIN held ON held.proposal_id = deleted.id
)
SELECT (SELECT id FROM shadows ORDER BY id DESC LIMIT 1) AS through_id, (SELECT count(*) FROM unlinked) AS unlinked_rows,
       (SELECT {altered_rows} FROM unlinked) AS altered_rows, (SELECT count(*) FROM deleted) AS deleted_rows

-- name: dual_write_extent
-- The number of shadows in one table, and of pending proposals of dual-written extractions, which exist nowhere else.
-- Uses the index on (status, confidence).
SELECT
    count(*) FILTER (WHERE ({is_shadow}) AND proposal.status <> 'pending') AS shadows,
    count(*) FILTER (WHERE proposal.status = 'pending' AND run.settings ->> 'mode' = 'dual_write') AS pending
FROM {proposals} AS proposal
JOIN public.knowledge_extraction_runs AS run ON run.id = proposal.extraction_run_id
WHERE proposal.status IN ('pending', 'approved', 'auto_approved')

-- name: export_links
-- Every link of a legacy row to its proposal, as JSON. Relies on the index of the link.
SELECT jsonb_build_object(
    'id', linked.id,
    'migrated_from_proposal_id', linked.migrated_from_proposal_id,
    'migration_timestamp', linked.migration_timestamp
) AS row
FROM {table} AS linked
WHERE linked.migrated_from_proposal_id IS NOT NULL

-- name: export_rows
-- Every row of a table as JSON.
SELECT to_jsonb(exported) AS row FROM {table} AS exported

-- name: freeze
-- Refuses new and newly reviewed proposals, so that the export is complete. SHARE ROW EXCLUSIVE on this table only, with a
-- short lock_timeout; the application's direct writes continue, and so does a DELETE of a row that a proposal resembles.
CREATE OR REPLACE TRIGGER leaving BEFORE {events} ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION migration.refuse_while_leaving({pid})

-- name: freeze_forgotten
-- Removes the trigger function of the freeze after the proposal tables are dropped.
DROP FUNCTION IF EXISTS migration.refuse_while_leaving();

-- name: freeze_rule
-- The trigger function of the freeze: refuses the statement while the session with that pid holds an exclusive advisory
-- lock here. The freeze ends with that session, however its process dies. Reads pg_locks; takes no lock on user tables. The service
-- knows the SQLSTATE.
CREATE OR REPLACE FUNCTION migration.refuse_while_leaving() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM pg_locks
        WHERE locktype = 'advisory' AND granted AND mode = 'ExclusiveLock' AND pid = TG_ARGV[0]::integer
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    ) THEN
        RAISE EXCEPTION 'the proposal tables are being removed: % on % is refused', TG_OP, TG_TABLE_NAME
            USING ERRCODE = 'KM002', HINT = 'Switch the application to direct mode; an operator is rolling phase 1 back.';
    END IF;
    RETURN NULL;
END
$$;

-- name: is_shadow
-- Whether a proposal was written beside its row: by the service, or by the capture, which writes what the backfill writes but
-- for another run.
proposal.review_action = 'dual_write'
OR (
    proposal.review_action = 'auto_approve_migration'
    AND proposal.extraction_run_id <> migration.origin_proposal_id('knowledge_extraction_runs', 0)
)

-- name: proposals_without_copy
-- The number of proposals of one table that exist nowhere else: all but the backfilled images of rows. One scan.
SELECT count(*) AS rows FROM {table} WHERE review_action IS DISTINCT FROM 'auto_approve_migration'

-- name: reopen_run
-- The migration's run is not complete any more: the rollback of dual write leaves rows without a proposal.
UPDATE public.knowledge_extraction_runs
SET status = 'running', completed_at = NULL
WHERE id = migration.origin_proposal_id('knowledge_extraction_runs', 0) AND status = 'completed'

-- name: thaw
-- Allows writes to a proposal table again after a refused rollback. ACCESS EXCLUSIVE on it, with a short lock_timeout.
DROP TRIGGER IF EXISTS leaving ON {table}
