-- name: analyze
-- Fresh statistics directly after the backfill. SHARE UPDATE EXCLUSIVE: reads and writes continue.
ANALYZE public.topics, public.atoms, public.topic_proposals, public.atom_proposals, public.knowledge_extraction_runs

-- name: batch
-- One backfill batch, one statement, one transaction: locks the next rows without a proposal, inserts their proposals,
-- links them and writes the ledger (strategy §5; POSTGRES rules 10, 11, 13-15).
-- Reads along the primary key of {table} from %(after)s. FOR NO KEY UPDATE does not block foreign key checks of users, and
-- keeps the copied values those of the linked row. The id follows from the row, so a second proposal cannot exist. A
-- proposal that lost its link makes a plain insert fail; the batch then runs again with an ON CONFLICT clause that
-- refreshes it (the clause in every batch costs 10 percent of the speed). Where triggers of the user fire on the UPDATE, the batch
-- compares all other columns of each row before and after it, as text.
WITH locked AS MATERIALIZED (
    SELECT {taken}, migration.origin_proposal_id({table_name}, source.id) AS proposal_id{before}
    FROM {table} AS source
    WHERE {pending}
    ORDER BY source.id
    LIMIT %(batch_size)s
    FOR NO KEY UPDATE OF source {skip_locked}
), inserted AS (
    {insertion}
), linked AS (
    UPDATE {table} AS target
    SET migrated_from_proposal_id = locked.proposal_id, migration_timestamp = now()
    FROM locked
    WHERE target.id = locked.id
    RETURNING target.id{altered}
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
    %(entity)s, %(partition)s, %(run)s, greatest(%(after)s, -9223372036854775808), max(id),
    migration.require_linked((SELECT count(*) FROM locked), count(*), {altered_rows}),
    extract(epoch FROM clock_timestamp() - now()), %(dagster_run_id)s
FROM linked
HAVING (SELECT count(*) FROM locked) > 0
RETURNING linked_rows, through_id

-- name: batch_end
-- The last id that a batch would take; without locks. Reads along the primary key.
SELECT max(taken.id) AS last_id
FROM (
    SELECT source.id FROM {table} AS source
    WHERE {pending}
    ORDER BY source.id
    LIMIT %(batch_size)s
) AS taken

-- name: batch_rows
-- The rows of a batch, each with the decision of an operator where it was in quarantine. Part of the batch.
SELECT locked.*, held.policy AS quarantine_policy
FROM locked
LEFT JOIN migration.quarantine AS held ON held.entity = %(entity)s AND held.row_id = locked.id

-- name: captures_open
-- Whether the capture could not capture a statement since the last sweep. Through the index on these.
SELECT EXISTS (SELECT FROM migration.capture_log WHERE sqlstate IS NOT NULL AND swept_at IS NULL) AS found

-- name: captures_swept
-- Marks the statements that could not be captured: the sweep has linked their rows, the rest of the transaction completes their
-- relations.
UPDATE migration.capture_log SET swept_at = clock_timestamp() WHERE sqlstate IS NOT NULL AND swept_at IS NULL

-- name: close_run
-- Marks the migration's run completed; only called when every row is linked.
UPDATE public.knowledge_extraction_runs
SET status = 'completed', completed_at = clock_timestamp()
WHERE id = migration.origin_proposal_id('knowledge_extraction_runs', 0) AND status <> 'completed'

-- name: control
-- The operator's controls of a running backfill; NULL means the value of the settings.
SELECT paused, batch_size, rate_limit_per_second FROM migration.backfill_control

-- name: flush
-- Waits until everything that this session has committed is on disk. A commit without writes never waits, whatever
-- synchronous_commit is, so this writes a message to the WAL that nobody reads. Locks nothing.
SELECT pg_logical_emit_message(true, 'knowledge_migration', 'partition done')

-- name: id_bounds
-- The first and the last id of a table. Two index lookups.
SELECT min(id) AS first_id, max(id) AS last_id FROM {table}

-- name: insertion
-- Inserts the approved proposal of each row: the one place that says how a row that exists becomes a proposal. Part of the
-- backfill's batch and of the trigger functions of the capture.
INSERT INTO {proposals} (
    id, extraction_run_id, {columns}, status, reasoning, review_action, review_notes, reviewed_at, created_at
)
SELECT
    source.proposal_id, {run}, {values}, 'approved',
    'Migrated from existing production data', 'auto_approve_migration',
    'Backfilled during migration to proposal system'
        || CASE WHEN source.quarantine_policy = 'clamp_confidence'
           THEN '; confidence clamped to 0..1 by decision of an operator' ELSE '' END,
    now(), now()
FROM ({rows}) AS source
{on_conflict}
RETURNING id

-- name: next_row
-- The next single row that a batch would take, locked: identifies the row that cannot become a proposal.
SELECT source.id
FROM {table} AS source
WHERE {pending}
ORDER BY source.id
LIMIT 1
FOR NO KEY UPDATE OF source {skip_locked}

-- name: open_run
-- The one extraction run of the whole migration: its id is fixed, so a second start continues it.
INSERT INTO public.knowledge_extraction_runs (id, status, message_ids, message_count, settings, started_at)
VALUES (
    migration.origin_proposal_id('knowledge_extraction_runs', 0), 'running', '[]', 0,
    jsonb_build_object('migration', true, 'mode', 'backfill', 'backfill_timestamp', now()), now()
)
ON CONFLICT (id) DO UPDATE SET status = 'running', completed_at = NULL, error_message = NULL
WHERE knowledge_extraction_runs.status <> 'running' AND %(reopen)s

-- name: other_columns
-- The columns of a table that the migration must not change. Reads the catalog.
SELECT attribute.attname AS name
FROM pg_attribute AS attribute
WHERE attribute.attrelid = %(table)s::regclass
  AND attribute.attnum > 0
  AND NOT attribute.attisdropped
  AND attribute.attname NOT IN ('migrated_from_proposal_id', 'migration_timestamp')
ORDER BY attribute.attnum

-- name: partition_ends
-- The last id of each partition of so many rows. One walk along the primary key, index-only where vacuum allows.
SELECT numbered.id
FROM (SELECT id, row_number() OVER (ORDER BY id) AS place FROM {table} WHERE id <= %(through)s) AS numbered
WHERE numbered.place %% %(rows)s = 0
ORDER BY numbered.id

-- name: pending
-- The rows of an id range that have no proposal yet and are not in quarantine. Part of the statements that take or count
-- them, so that all mean the same rows. NOT IN is a hashed lookup because row_id is never NULL; the range keeps it small
-- where the quarantine is large (relies on quarantine_by_state).
source.id > %(after)s
AND source.id <= %(through)s
AND source.migrated_from_proposal_id IS NULL
AND source.id NOT IN (
    SELECT held.row_id FROM migration.quarantine AS held
    WHERE held.entity = %(entity)s
      AND held.state IN ('open', 'accepted')
      AND held.row_id > %(after)s
      AND held.row_id <= %(through)s
)

-- name: pressure
-- The lag of the slowest replica in seconds, for which the backfill waits, and how many replicas this role may not see.
SELECT coalesce(max(extract(epoch FROM replay_lag)), 0)::double precision AS replica_lag_seconds,
       count(*) FILTER (WHERE state IS NULL) AS unseen_replicas
FROM pg_stat_replication

-- name: proposed_topic_ids
-- The topics of an atom as its proposal names them: their ids as numbers, in order. Relies on idx_topic_atoms_atom.
(
    SELECT coalesce(jsonb_agg(related.topic_id ORDER BY related.topic_id), '[]'::jsonb)
    FROM public.topic_atoms AS related
    WHERE related.atom_id = source.id
)

-- name: quarantine_decide
-- Records an operator's decision about quarantined rows; a row that has its proposal already is not changed.
UPDATE migration.quarantine
SET state = %(state)s, policy = %(policy)s, decided_at = clock_timestamp(), decided_by = %(actor)s, note = %(note)s
WHERE entity = %(entity)s AND row_id = ANY (%(row_ids)s) AND state <> 'resolved'
RETURNING row_id

-- name: quarantine_list
-- The quarantined rows of one state, or all.
SELECT entity, row_id, state, policy, sqlstate, reason, found_at, decided_by, decided_at, note
FROM migration.quarantine
WHERE %(state)s::text IS NULL OR state = %(state)s
ORDER BY entity, row_id

-- name: quarantine_row
-- Quarantines a row with the reason; a row that fails again after a decision is open again.
INSERT INTO migration.quarantine (entity, row_id, sqlstate, reason)
VALUES (%(entity)s, %(row_id)s, %(sqlstate)s, %(reason)s)
ON CONFLICT (entity, row_id) DO UPDATE
SET state = 'open', sqlstate = excluded.sqlstate, reason = excluded.reason, found_at = clock_timestamp()

-- name: relations_swept
-- Adds to captured proposals the relations that the capture has skipped, or that triggers did not see; removed relations stay in
-- a proposal. Hash joins over the captured atoms; locks only the proposals that it changes.
UPDATE public.atom_proposals AS proposal
SET {column} = (
    SELECT jsonb_agg(DISTINCT element.value)
    FROM jsonb_array_elements(coalesce(proposal.{column}, '[]') || related.elements) AS element
)
FROM (
    SELECT atom.migrated_from_proposal_id AS proposal_id, jsonb_agg(one.element) AS elements
    FROM ({related}) AS one
    JOIN public.atoms AS atom ON atom.id = one.{owner}
    WHERE one.element IS NOT NULL
    GROUP BY atom.migrated_from_proposal_id
) AS related
WHERE proposal.id = related.proposal_id
  AND proposal.review_action = 'auto_approve_migration'
  AND proposal.extraction_run_id <> migration.origin_proposal_id('knowledge_extraction_runs', 0)
  AND NOT coalesce(proposal.{column} @> related.elements, false)

-- name: rows_in_range
-- Rows of an id range, and how many of them have their proposal. Reads the range by primary key.
SELECT count(*) AS rows, count(migrated_from_proposal_id) AS linked
FROM {table}
WHERE id > %(after)s AND id <= %(through)s

-- name: run
-- The migration's extraction run, if it has started.
SELECT id, status, started_at, completed_at
FROM public.knowledge_extraction_runs
WHERE id = migration.origin_proposal_id('knowledge_extraction_runs', 0)

-- name: set_control
-- Changes the controls; a running backfill applies them within a second. A field that is NULL here stays as it is.
UPDATE migration.backfill_control
SET paused = coalesce(%(paused)s, paused),
    batch_size = coalesce(%(batch_size)s, batch_size),
    rate_limit_per_second = coalesce(%(rate_limit_per_second)s, rate_limit_per_second),
    changed_at = clock_timestamp(),
    changed_by = %(actor)s
RETURNING paused, batch_size, rate_limit_per_second

-- name: stated_confidence
-- The confidence as the source states it: NULL stays NULL, 0.0 stays 0.0. A value out of range violates the proposal's
-- check, and the row is quarantined unless an operator decided to clamp it; NaN becomes NULL then.
CASE
    WHEN source.quarantine_policy IS DISTINCT FROM 'clamp_confidence' THEN source.confidence
    WHEN source.confidence = 'NaN' THEN NULL
    ELSE greatest(0, least(1, source.confidence))
END

-- name: stragglers
-- Rows above the backfill's bound without a proposal for some minutes and not in quarantine: an old writer wrote them.
-- Reads along the primary key from the bound.
SELECT count(*) AS rows, coalesce(max(source.id), 0) AS last_id
FROM {table} AS source
LEFT JOIN migration.quarantine AS held ON held.entity = %(entity)s AND held.row_id = source.id
WHERE source.id > %(above)s AND source.migrated_from_proposal_id IS NULL AND held.row_id IS NULL
  AND coalesce(source.created_at, '-infinity') < clock_timestamp() - make_interval(secs => %(seconds)s)

-- name: touch_one_row
-- Writes the migration's column of the next row and returns all other columns before and after; the transaction is rolled
-- back. FOR NO KEY UPDATE on that one row; skips rows that users hold.
WITH before AS MATERIALIZED (
    SELECT source.id, ARRAY[{values}]::text[] AS values
    FROM {table} AS source
    WHERE {pending}
    ORDER BY source.id
    LIMIT 1
    FOR NO KEY UPDATE OF source SKIP LOCKED
)
UPDATE {table} AS source
SET migration_timestamp = now()
FROM before
WHERE source.id = before.id
RETURNING before.values AS before, ARRAY[{values}]::text[] AS after

-- name: unlinked
-- Counts the rows of an id range without a proposal, except quarantined ones. Reads the range by primary key.
SELECT count(*) AS rows, min(source.id) AS first_id
FROM {table} AS source
WHERE {pending}

-- name: update_triggers
-- The user's triggers and rules that an UPDATE of the link columns of a table fires in this session, each with its function and
-- the statement that restricts a trigger to the other columns (a trigger with transition tables cannot be). Reads the catalog.
SELECT trigger.tgname AS name, 'function ' || trigger.tgfoid::regproc AS function,
       CASE WHEN trigger.tgconstraint = 0 AND trigger.tgoldtable IS NULL AND trigger.tgnewtable IS NULL THEN
           regexp_replace(
               regexp_replace(pg_get_triggerdef(trigger.oid), '\mUPDATE\M( OF .*?(?= ON | OR ))?', 'UPDATE OF ' || others.names),
               '^CREATE TRIGGER', 'CREATE OR REPLACE TRIGGER')
       END AS restricted
FROM pg_trigger AS trigger
JOIN pg_proc AS function ON function.oid = trigger.tgfoid
CROSS JOIN (
    SELECT string_agg(quote_ident(attribute.attname), ', ' ORDER BY attribute.attnum) AS names
    FROM pg_attribute AS attribute
    WHERE attribute.attrelid = %(table)s::regclass AND attribute.attnum > 0 AND NOT attribute.attisdropped
      AND attribute.attname NOT IN ('migrated_from_proposal_id', 'migration_timestamp')
) AS others
WHERE trigger.tgrelid = %(table)s::regclass
  AND NOT trigger.tgisinternal
  AND function.pronamespace <> 'migration'::regnamespace
  AND trigger.tgenabled IN (CASE current_setting('session_replication_role') WHEN 'replica' THEN 'R' ELSE 'O' END, 'A')
  AND trigger.tgtype & 16 > 0
  AND (cardinality(trigger.tgattr::int2[]) = 0 OR EXISTS (
      SELECT FROM pg_attribute AS attribute
      WHERE attribute.attrelid = trigger.tgrelid AND attribute.attnum = ANY (trigger.tgattr::int2[])
        AND attribute.attname IN ('migrated_from_proposal_id', 'migration_timestamp')
  ))
UNION ALL
SELECT rule.rulename, 'a rule', NULL
FROM pg_rewrite AS rule
WHERE rule.ev_class = %(table)s::regclass AND rule.ev_type = '2' AND rule.ev_enabled <> 'D'
ORDER BY 1

-- name: written_in_transaction
-- The rows that this session has written and not yet reported to the statistics, by table. Takes no lock.
SELECT schemaname || '.' || relname AS name, n_tup_ins + n_tup_upd + n_tup_del AS rows
FROM pg_stat_xact_user_tables
WHERE schemaname <> 'migration' AND n_tup_ins + n_tup_upd + n_tup_del > 0
