-- name: at_once
-- Links the rows of a statement and inserts their proposals, where nothing stands in the way: no trigger of the user's fires on
-- the UPDATE, the rows can become proposals, and their runs exist. Sets `done` where no row is left. Reads the rows from the
-- table, because a trigger of the user's may have changed or deleted them since. Relies on the primary keys; locks only rows that
-- this transaction has inserted.
WITH linked AS (
    UPDATE {table} AS source
    SET migrated_from_proposal_id = migration.origin_proposal_id({table_name}, source.id), migration_timestamp = now()
    WHERE source.id = ANY (ARRAY(SELECT fresh.id FROM new_rows AS fresh WHERE fresh.migrated_from_proposal_id IS NULL))
      AND source.migrated_from_proposal_id IS NULL
      AND {rejection} IS NULL
      AND EXISTS (SELECT FROM public.knowledge_extraction_runs AS run WHERE run.id = {shared_run})
      AND NOT EXISTS ({fires})
    RETURNING {taken}, source.migrated_from_proposal_id AS proposal_id, NULL::text AS quarantine_policy
), inserted AS (
    {insertion}
)
INSERT INTO migration.capture_log (entity, operation, linked_rows)
SELECT {entity}, TG_OP || ' on ' || TG_TABLE_NAME, count(*) FROM linked HAVING count(*) > 0
RETURNING linked_rows = (SELECT count(*) FROM new_rows AS fresh WHERE fresh.migrated_from_proposal_id IS NULL) INTO done

-- name: day_key
-- The key of the run of rows that name no extraction: the day.
jsonb_build_array(to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD'))::text

-- name: deleted
-- Marks the approved proposals of deleted rows: they name the row that was theirs. A proposal that somebody holds is skipped:
-- no user waits for another one. Relies on the primary key of the proposals.
WITH held AS MATERIALIZED (
    SELECT proposal.id, gone.id AS row_id
    FROM old_rows AS gone
    JOIN {proposals} AS proposal ON proposal.id = gone.migrated_from_proposal_id
    WHERE proposal.status IN ('approved', 'auto_approved')
    FOR NO KEY UPDATE OF proposal SKIP LOCKED
)
UPDATE {proposals} AS proposal
SET entity_id = held.row_id, review_notes = concat_ws('; ', proposal.review_notes, 'the row was deleted')
FROM held
WHERE proposal.id = held.id

-- name: extraction_key
-- The key of the run of an atom: the source and the messages of its extraction where it names them, else the day.
CASE
    WHEN jsonb_typeof(source.meta::jsonb -> 'message_ids') = 'array' AND source.meta::jsonb ->> 'source' IS NOT NULL
    THEN jsonb_build_array(source.meta::jsonb ->> 'source', source.meta::jsonb -> 'message_ids')::text
    ELSE {day_key}
END

-- name: fires
-- A trigger of the user's that fires on the UPDATE of a row in this session. Reads the catalog by the table.
SELECT FROM pg_trigger AS trigger
WHERE trigger.tgrelid = TG_RELID AND NOT trigger.tgisinternal AND trigger.tgtype & 16 > 0 AND trigger.tgenabled <> 'D'

-- name: has_captured
-- Whether the capture has captured rows. Reads our own table.
SELECT EXISTS (SELECT FROM migration.capture_log WHERE linked_rows > 0) AS found

-- name: interrupted
-- Records that the capture was removed or disabled after it had captured rows (a killed rollback, an operator), so that the next
-- sweep completes the relations that it has not seen.
INSERT INTO migration.capture_log (entity, operation, sqlstate, reason)
VALUES ('atom', 'installed again', '55000', 'the capture was not enforced for a time')

-- name: links_of_atoms
-- Links to atoms that have a proposal. Relies on the primary key: read by key only, because the index of the links looks empty
-- to the planner before the first row is linked.
SELECT related.from_atom_id, (
    SELECT jsonb_build_object('proposal', linked.id, 'type', related.link_type)
    FROM (
        SELECT other.migrated_from_proposal_id AS id FROM public.atoms AS other WHERE other.id = related.to_atom_id OFFSET 0
    ) AS linked
    WHERE linked.id IS NOT NULL
) AS element
FROM {rows} AS related

-- name: missing
-- A value that a proposal needs.
{column} IS NULL

-- name: new_related
-- Whether a statement has written relations.
SELECT FROM new_rows

-- name: new_unlinked
-- Whether a statement has written rows without a link.
SELECT FROM new_rows AS fresh WHERE fresh.migrated_from_proposal_id IS NULL

-- name: no_json
-- JSON that jsonb cannot hold, as text with a NUL character.
NOT pg_input_is_valid({column}::text, 'jsonb')

-- name: old_linked
-- Whether a statement has deleted rows with a link.
SELECT FROM old_rows AS gone WHERE gone.migrated_from_proposal_id IS NOT NULL

-- name: other_values
-- The columns of a row that the capture must not change, as text. Evaluated only where a trigger of the user's may change them.
CASE WHEN EXISTS ({fires}) THEN (
    SELECT json_object_agg(field.key, field.value ORDER BY field.key)::text
    FROM json_each(to_json({row})) AS field
    WHERE field.key NOT IN ('migrated_from_proposal_id', 'migration_timestamp')
) END

-- name: out_of_range
-- A confidence outside 0..1, NaN included.
NOT ({column} >= 0 AND {column} <= 1)

-- name: related
-- Adds relations that arrive after their atom to its captured proposal. One that somebody holds is skipped, so that no user waits
-- for another one, and recorded; a sweep completes it. Relies on the primary keys.
WITH wanted AS MATERIALIZED (
    SELECT proposal.id, added.elements
    FROM (
        SELECT related.{owner} AS atom_id, jsonb_agg(related.element) AS elements
        FROM ({related}) AS related
        WHERE related.element IS NOT NULL
        GROUP BY related.{owner}
    ) AS added
    JOIN public.atom_proposals AS proposal ON proposal.id = migration.origin_proposal_id('atoms', added.atom_id)
    WHERE proposal.review_action = 'auto_approve_migration'
      AND proposal.extraction_run_id <> migration.origin_proposal_id('knowledge_extraction_runs', 0)
      AND NOT coalesce(proposal.{column} @> added.elements, false)
), held AS MATERIALIZED (
    SELECT proposal.id, wanted.elements
    FROM wanted
    JOIN public.atom_proposals AS proposal ON proposal.id = wanted.id
    FOR NO KEY UPDATE OF proposal SKIP LOCKED
), extended AS (
    UPDATE public.atom_proposals AS proposal
    SET {column} = (
        SELECT jsonb_agg(DISTINCT element.value)
        FROM jsonb_array_elements(coalesce(proposal.{column}, '[]') || held.elements) AS element
    )
    FROM held
    WHERE proposal.id = held.id
)
INSERT INTO migration.capture_log (entity, operation, sqlstate, reason)
SELECT 'atom', TG_OP || ' on ' || TG_TABLE_NAME, '55P03', skipped.rows || ' proposals were held by another session'
FROM (SELECT (SELECT count(*) FROM wanted) - (SELECT count(*) FROM held) AS rows) AS skipped
WHERE skipped.rows > 0

-- name: run_id
-- The run of a key: the shared one if it exists, or if no other transaction can be creating it at this moment (the lock is one
-- of 64, so that a transaction never holds many); else one of this transaction, so that no user waits for another one.
CASE
    WHEN EXISTS (
        SELECT FROM public.knowledge_extraction_runs AS run
        WHERE run.id = migration.origin_proposal_id('captured/' || keys.run_key, 0)
    ) OR (
        current_setting('transaction_isolation') = 'read committed'
        AND pg_try_advisory_xact_lock(hashtext('knowledge_migration.capture'), hashtext(keys.run_key) & 63)
    )
    THEN migration.origin_proposal_id('captured/' || keys.run_key, 0)
    ELSE migration.origin_proposal_id('captured/' || keys.run_key || '/' || pg_current_xact_id()::text, 0)
END

-- name: shared_run
-- The id of the run of a key that all sessions share.
migration.origin_proposal_id('captured/' || {run_key}, 0)

-- name: too_long
-- A text that is wider than the proposal's column.
char_length({column}) > {width}

-- name: topics_of_atoms
-- The ids of the topics of atoms.
SELECT related.atom_id, to_jsonb(related.topic_id) AS element FROM {rows} AS related

-- name: written
-- Gives each other row of a statement its approved proposal and its link, as the backfill does, and opens its run. A row that
-- cannot become a proposal goes to quarantine. Refuses an UPDATE that changed other columns, as the backfill does.
WITH taken AS MATERIALIZED (
    SELECT {taken}, migration.origin_proposal_id({table_name}, source.id) AS proposal_id, {rejection} AS rejection,
           {before} AS before
    FROM {table} AS source
    WHERE source.id = ANY (ARRAY(SELECT fresh.id FROM new_rows AS fresh WHERE fresh.migrated_from_proposal_id IS NULL))
      AND source.migrated_from_proposal_id IS NULL
), quarantined AS (
    INSERT INTO migration.quarantine (entity, row_id, sqlstate, reason)
    SELECT {entity}, taken.id, left(taken.rejection, 5), substr(taken.rejection, 7)
    FROM taken
    WHERE taken.rejection IS NOT NULL
    ON CONFLICT (entity, row_id) DO UPDATE
    SET state = 'open', sqlstate = excluded.sqlstate, reason = excluded.reason, found_at = clock_timestamp()
), keyed AS MATERIALIZED (
    SELECT source.*, {run_key} AS run_key FROM taken AS source WHERE source.rejection IS NULL
), runs AS MATERIALIZED (
    SELECT keys.run_key, {run_id} AS run_id FROM (SELECT DISTINCT keyed.run_key FROM keyed) AS keys
), opened AS (
    INSERT INTO public.knowledge_extraction_runs (
        id, status, message_ids, message_count, settings, started_at, completed_at
    )
    SELECT runs.run_id, 'completed', named.message_ids, jsonb_array_length(named.message_ids),
           jsonb_build_object('migration', true, 'mode', 'captured', 'source', runs.run_key::jsonb -> 0), now(), now()
    FROM runs
    CROSS JOIN LATERAL (SELECT coalesce(runs.run_key::jsonb -> 1, '[]') AS message_ids) AS named
    ON CONFLICT (id) DO NOTHING
), inserted AS (
    {insertion}
), linked AS (
    UPDATE {table} AS target
    SET migrated_from_proposal_id = migration.origin_proposal_id({table_name}, target.id), migration_timestamp = now()
    WHERE target.id = ANY (ARRAY(SELECT keyed.id FROM keyed))
    RETURNING target.id, {after} AS after
)
INSERT INTO migration.capture_log (entity, operation, linked_rows)
SELECT {entity}, TG_OP || ' on ' || TG_TABLE_NAME, migration.require_linked(
    (SELECT count(*) FROM keyed), count(*), count(*) FILTER (WHERE linked.after <> keyed.before)
)
FROM linked
JOIN keyed ON keyed.id = linked.id
HAVING (SELECT count(*) FROM keyed) > 0

-- name: written_rows
-- The rows with their runs. Part of the capture of a statement.
SELECT keyed.*, runs.run_id, NULL::text AS quarantine_policy FROM keyed JOIN runs ON runs.run_key = keyed.run_key
