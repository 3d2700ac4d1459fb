-- name: analyze
-- Updates the planner's statistics of the tables that the migration has written. SHARE UPDATE EXCLUSIVE, one table at a time.
ANALYZE public.topics, public.atoms, public.topic_atoms, public.atom_links, public.messages,
    public.topic_proposals, public.atom_proposals, public.knowledge_extraction_runs

-- name: archive_copy
-- Copies these locked runs with their proposals, those that may still be archived. A JSON null in meta is marked: as JSON it
-- would be the same as none.
INSERT INTO public.knowledge_extraction_archive (id, run, topic_proposals, atom_proposals)
SELECT
    run.id, to_jsonb(run),
    (
        SELECT coalesce(jsonb_agg(to_jsonb(proposal) ORDER BY proposal.created_at, proposal.id), '[]')
        FROM public.topic_proposals AS proposal
        WHERE proposal.extraction_run_id = run.id
    ),
    (
        SELECT coalesce(
            jsonb_agg(
                to_jsonb(proposal) || jsonb_build_object('meta_is_json_null', coalesce(proposal.meta = 'null', false))
                ORDER BY proposal.created_at, proposal.id
            ), '[]'
        )
        FROM public.atom_proposals AS proposal
        WHERE proposal.extraction_run_id = run.id
    )
FROM public.knowledge_extraction_runs AS run
WHERE run.id = ANY (%(runs)s) AND {kept_because} IS NULL
RETURNING id, jsonb_array_length(topic_proposals) AS topic_proposals, jsonb_array_length(atom_proposals) AS atom_proposals

-- name: archive_extent
-- The size of the archive.
SELECT count(*) AS runs, coalesce(sum(jsonb_array_length(topic_proposals)), 0)::bigint AS topic_proposals,
       coalesce(sum(jsonb_array_length(atom_proposals)), 0)::bigint AS atom_proposals,
       min(archived_at) AS first_archived_at, max(archived_at) AS last_archived_at
FROM public.knowledge_extraction_archive

-- name: archive_forget
-- Removes a run from the archive that was restored in this transaction.
DELETE FROM public.knowledge_extraction_archive WHERE id = %(run)s

-- name: archive_held
-- Locks one archived run, so that it is restored once, and counts its proposals.
SELECT jsonb_array_length(topic_proposals) AS topic_proposals, jsonb_array_length(atom_proposals) AS atom_proposals
FROM public.knowledge_extraction_archive
WHERE id = %(run)s
FOR UPDATE

-- name: archive_lock
-- Locks these runs, except those that another transaction holds. FOR UPDATE: a review locks the run first, and so does the
-- insertion of a proposal, so no transaction changes or adds a proposal of these runs afterwards.
SELECT run.id
FROM public.knowledge_extraction_runs AS run
WHERE run.id = ANY (%(runs)s)
ORDER BY run.id
FOR UPDATE SKIP LOCKED

-- name: archive_referred
-- Runs whose proposals are named by a proposal of another run, as its topic or as the target of a link. Other
-- texts match nothing. One scan of atom_proposals.
WITH named AS (
    SELECT proposal.extraction_run_id AS run_id, topic.value AS id
    FROM public.atom_proposals AS proposal
    CROSS JOIN LATERAL jsonb_array_elements_text(
        CASE jsonb_typeof(proposal.proposed_topic_ids) WHEN 'array' THEN proposal.proposed_topic_ids ELSE '[]' END
    ) AS topic
    UNION ALL
    SELECT proposal.extraction_run_id, link.value ->> 'proposal'
    FROM public.atom_proposals AS proposal
    CROSS JOIN LATERAL jsonb_array_elements(
        CASE jsonb_typeof(proposal.proposed_links) WHEN 'array' THEN proposal.proposed_links ELSE '[]' END
    ) AS link
)
SELECT DISTINCT target.extraction_run_id AS id
FROM named
JOIN (
    SELECT id::text AS id, extraction_run_id FROM public.topic_proposals
    UNION ALL
    SELECT id::text, extraction_run_id FROM public.atom_proposals
) AS target ON target.id = lower(named.id)
WHERE target.extraction_run_id <> named.run_id

-- name: archive_remove_proposals
-- Removes the proposals of runs that were copied in this transaction. The reference of topics and atoms refuses a linked one.
DELETE FROM {proposals} WHERE extraction_run_id = ANY (%(runs)s)

-- name: archive_remove_runs
-- Removes runs that were copied in this transaction; the reference of proposals refuses one that has any left.
DELETE FROM public.knowledge_extraction_runs WHERE id = ANY (%(runs)s)

-- name: archive_restore_json_nulls
-- Restores the JSON nulls that the archive has marked.
UPDATE public.atom_proposals SET meta = 'null'
WHERE id IN (
    SELECT (given.proposal ->> 'id')::uuid
    FROM public.knowledge_extraction_archive AS archive
    CROSS JOIN LATERAL jsonb_array_elements(archive.atom_proposals) AS given (proposal)
    WHERE archive.id = %(run)s AND (given.proposal ->> 'meta_is_json_null')::boolean
)

-- name: archive_restore_proposals
-- Restores the proposals of a run inside the database, so no number loses a digit. References to deleted rows and users
-- become NULL, as ON DELETE SET NULL would have done.
INSERT INTO {proposals}
SELECT (
    jsonb_populate_record(
        NULL::{proposals},
        given.proposal - CASE
            WHEN EXISTS (SELECT FROM {table} WHERE id = (given.proposal ->> {similar})::bigint) THEN '' ELSE {similar}
        END - CASE
            WHEN EXISTS (SELECT FROM public.users WHERE id = (given.proposal ->> 'reviewed_by_user_id')::bigint) THEN ''
            ELSE 'reviewed_by_user_id'
        END
    )
).*
FROM public.knowledge_extraction_archive AS archive
CROSS JOIN LATERAL jsonb_array_elements(archive.{archived}) AS given (proposal)
WHERE archive.id = %(run)s

-- name: archive_restore_run
-- Restores a run inside the database, so no number loses a digit. The reference to a deleted user becomes NULL, as
-- ON DELETE SET NULL would have done.
INSERT INTO public.knowledge_extraction_runs
SELECT (
    jsonb_populate_record(
        NULL::public.knowledge_extraction_runs,
        CASE
            WHEN EXISTS (SELECT FROM public.users WHERE id = (archive.run ->> 'created_by_user_id')::bigint)
                THEN archive.run
            ELSE archive.run - 'created_by_user_id'
        END
    )
).*
FROM public.knowledge_extraction_archive AS archive
WHERE archive.id = %(run)s

-- name: archive_window
-- The next runs of the given age in order of time, each with the reason why it stays, if any. Locks nothing; relies on
-- idx_knowledge_runs_created, read backwards.
SELECT run.id, run.created_at, {kept_because} AS kept_because
FROM public.knowledge_extraction_runs AS run
WHERE run.created_at < %(before)s
  AND (run.created_at, run.id) > (%(after_at)s, %(after_id)s)
ORDER BY run.created_at, run.id
LIMIT %(batch_runs)s

-- name: archive_would_move
-- The number of proposals of these runs. By index, locks nothing.
SELECT (SELECT count(*) FROM public.topic_proposals WHERE extraction_run_id = ANY (%(runs)s)) AS topic_proposals,
       (SELECT count(*) FROM public.atom_proposals WHERE extraction_run_id = ANY (%(runs)s)) AS atom_proposals

-- name: drop_index
-- Drops an index while reads and writes go on: SHARE UPDATE EXCLUSIVE on its table; waits for transactions that use it. Interrupted,
-- it leaves an invalid index that the next attempt drops.
DROP INDEX CONCURRENTLY public.{index}

-- name: dropped_index
-- The latest definition of an index that phase 5 has dropped, from the audit log.
SELECT before ->> 'definition' AS definition, before ->> 'table' AS table
FROM migration.audit_log
WHERE subject = %(subject)s AND action = %(action)s
ORDER BY id DESC
LIMIT 1

-- name: flag_history
-- Every change of the flags and every rollback in the audit log, in order. One scan of migration.audit_log.
SELECT at, actor, action, subject, reason, after
FROM migration.audit_log
WHERE (subject = %(flags)s AND action = %(set_flags)s)
   OR action = ANY (%(rollbacks)s)
ORDER BY id

-- name: flags_are_retired
-- Whether the old paths are retired. FOR SHARE: a transaction that opens them waits for this one and then sees the
-- constraint; an earlier one is visible here.
SELECT coalesce((config ->> 'legacy_paths_retired')::boolean, false) AS retired, version
FROM public.feature_flags
WHERE name = %(flags)s
FOR SHARE

-- name: indexes
-- Every index of the ordinary tables in public: size, use, purpose, and the columns that show whether another makes it redundant.
-- Reads the catalog and the statistics. Scans on a replica are counted there, not here.
SELECT
    relation.relname AS table, class.relname AS index, access.amname AS method,
    pg_get_indexdef(index.indexrelid) AS definition,
    pg_relation_size(index.indexrelid) AS bytes,
    coalesce(used.idx_scan, 0) AS scans,
    index.indisunique AS is_unique,
    index.indisprimary AS is_primary,
    index.indisvalid AND index.indisready AND index.indislive AS is_valid,
    index.indisreplident OR index.indisclustered AS is_marked,
    (SELECT backed.conname FROM pg_constraint AS backed
     WHERE backed.conindid = index.indexrelid AND backed.conrelid = index.indrelid LIMIT 1) AS backs_constraint,
    class.relispartition OR relation.relkind = 'p' AS is_partitioned,
    array(
        SELECT concat_ws(
            ' ', pg_get_indexdef(index.indexrelid, place, true), index.indclass[place - 1]::text,
            index.indcollation[place - 1]::text, index.indoption[place - 1]::text
        )
        FROM generate_series(1, index.indnkeyatts) AS place ORDER BY place
    ) AS keys,
    array(
        SELECT pg_get_indexdef(index.indexrelid, place, true)
        FROM generate_series(index.indnkeyatts + 1, index.indnatts) AS place ORDER BY place
    ) AS included,
    coalesce(pg_get_expr(index.indpred, index.indrelid), '') AS condition
FROM pg_index AS index
JOIN pg_class AS class ON class.oid = index.indexrelid
JOIN pg_class AS relation ON relation.oid = index.indrelid
JOIN pg_am AS access ON access.oid = class.relam
LEFT JOIN pg_stat_all_indexes AS used ON used.indexrelid = index.indexrelid
WHERE relation.relnamespace = 'public'::regnamespace AND relation.relkind IN ('r', 'p')
ORDER BY relation.relname, class.relname

-- name: kept_because
-- The reason why a run stays, or NULL if it can be archived; part of the statements that choose and that move, so both use
-- one rule. Uses indexes: proposals by run, rows by link.
CASE
    WHEN run.id = migration.origin_proposal_id('knowledge_extraction_runs', 0) THEN 'the run of the backfill'
    WHEN run.status NOT IN ('completed', 'failed') THEN 'not over'
    WHEN run.id = ANY (%(referred)s::uuid[]) THEN 'another run refers to its proposals'
    WHEN EXISTS (SELECT FROM migration.shadow_failure AS failure
                 WHERE failure.extraction_run_id = run.id AND failure.repaired_at IS NULL)
        THEN 'a failed shadow of it is not repaired'
    WHEN EXISTS (SELECT FROM public.topic_proposals AS proposal
                 WHERE proposal.extraction_run_id = run.id AND proposal.status IN ('pending', 'parked'))
      OR EXISTS (SELECT FROM public.atom_proposals AS proposal
                 WHERE proposal.extraction_run_id = run.id AND proposal.status IN ('pending', 'parked'))
        THEN 'a proposal of it waits'
    WHEN EXISTS (SELECT FROM public.topic_proposals AS proposal
                 JOIN public.topics AS row ON row.migrated_from_proposal_id = proposal.id
                 WHERE proposal.extraction_run_id = run.id)
      OR EXISTS (SELECT FROM public.atom_proposals AS proposal
                 JOIN public.atoms AS row ON row.migrated_from_proposal_id = proposal.id
                 WHERE proposal.extraction_run_id = run.id)
        THEN 'a row came from it'
    -- an approval that matched a row, or a merge: the undo of that row's own approval asks for these before it removes the row
    WHEN EXISTS (SELECT FROM public.topic_proposals AS proposal
                 WHERE proposal.extraction_run_id = run.id AND proposal.similar_topic_id IS NOT NULL
                   AND proposal.status IN ('approved', 'auto_approved', 'merged'))
      OR EXISTS (SELECT FROM public.atom_proposals AS proposal
                 WHERE proposal.extraction_run_id = run.id AND proposal.similar_atom_id IS NOT NULL
                   AND proposal.status IN ('approved', 'auto_approved', 'merged'))
        THEN 'a proposal of it stands for a row'
END

-- name: nothing_linked_was_archived
-- Violations: a topic or atom that came from an archived proposal, an archived run or proposal that is also in its own
-- table, and an archive with fewer or more rows than the audit log records. Reads the archive once.
WITH archived AS (
    SELECT archive.id AS run_id, 'topic' AS entity, (proposal.value ->> 'id')::uuid AS id
    FROM public.knowledge_extraction_archive AS archive, jsonb_array_elements(archive.topic_proposals) AS proposal
    UNION ALL
    SELECT archive.id, 'atom', (proposal.value ->> 'id')::uuid
    FROM public.knowledge_extraction_archive AS archive, jsonb_array_elements(archive.atom_proposals) AS proposal
), audited AS (
    SELECT coalesce(sum(sign * (after ->> 'runs')::bigint), 0) AS runs,
           coalesce(sum(sign * (after ->> 'topic_proposals')::bigint), 0) AS topic_proposals,
           coalesce(sum(sign * (after ->> 'atom_proposals')::bigint), 0) AS atom_proposals
    FROM migration.audit_log
    CROSS JOIN LATERAL (SELECT CASE action WHEN %(archive)s THEN 1 ELSE -1 END AS sign) AS direction
    WHERE subject = %(subject)s AND action IN (%(archive)s, %(restore)s)
), held AS (
    SELECT count(*) AS runs, coalesce(sum(jsonb_array_length(topic_proposals)), 0) AS topic_proposals,
           coalesce(sum(jsonb_array_length(atom_proposals)), 0) AS atom_proposals
    FROM public.knowledge_extraction_archive
)
SELECT 'topic ' || row.id || ' came from it' AS problem, archived.run_id AS run, archived.id AS proposal
FROM archived
JOIN public.topics AS row ON row.migrated_from_proposal_id = archived.id
UNION ALL
SELECT 'atom ' || row.id || ' came from it', archived.run_id, archived.id
FROM archived
JOIN public.atoms AS row ON row.migrated_from_proposal_id = archived.id
UNION ALL
SELECT 'the run is in its own table too', run.id, NULL
FROM public.knowledge_extraction_archive AS archive
JOIN public.knowledge_extraction_runs AS run ON run.id = archive.id
UNION ALL
SELECT 'the proposal is in its own table too', archived.run_id, proposal.id
FROM archived
JOIN public.topic_proposals AS proposal ON proposal.id = archived.id
UNION ALL
SELECT 'the proposal is in its own table too', archived.run_id, proposal.id
FROM archived
JOIN public.atom_proposals AS proposal ON proposal.id = archived.id
UNION ALL
SELECT format(
    'the archive holds %%s runs, %%s and %%s proposals; the audit log says %%s, %%s and %%s',
    held.runs, held.topic_proposals, held.atom_proposals, audited.runs, audited.topic_proposals, audited.atom_proposals
), NULL, NULL
FROM held, audited
WHERE (held.runs, held.topic_proposals, held.atom_proposals)
    IS DISTINCT FROM (audited.runs, audited.topic_proposals, audited.atom_proposals)

-- name: origin_constraints
-- The constraints that require a proposal for every row. Reads the catalog only.
SELECT needed.name AS table, found.conname IS NOT NULL AS present, found.convalidated AS validated,
       pg_get_constraintdef(found.oid) AS definition
FROM unnest(%(tables)s::text[], %(names)s::text[]) AS needed (name, constraint_name)
LEFT JOIN pg_constraint AS found
    ON found.conrelid = to_regclass('public.' || needed.name) AND found.conname = needed.constraint_name

-- name: origin_optional
-- Allows rows of {table} without a proposal again. ACCESS EXCLUSIVE for a catalog change only.
ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {constraint}

-- name: origin_required
-- Refuses new rows of {table} without a proposal. ACCESS EXCLUSIVE for a catalog change only: NOT VALID does
-- not scan.
ALTER TABLE {table} ADD CONSTRAINT {constraint} CHECK (migrated_from_proposal_id IS NOT NULL) NOT VALID

-- name: origin_validated
-- Validates the constraint for the existing rows. SHARE UPDATE EXCLUSIVE on {table}: reads and writes go on while it scans.
ALTER TABLE {table} VALIDATE CONSTRAINT {constraint}

-- name: overridden
-- Whether an operator overrode the required stability of the full cutover that began at that moment. Uses audit_log_by_subject.
SELECT EXISTS (
    SELECT FROM migration.audit_log WHERE subject = %(subject)s AND action = %(action)s AND at >= %(since)s
) AS overridden

-- name: rows_without_proposal
-- Rows of {table} without a proposal, accepted quarantine included: none may exist before the database refuses such
-- rows. One scan.
SELECT source.id, left(source.{label}, 80) AS label, source.created_at, held.state AS quarantine
FROM {table} AS source
LEFT JOIN migration.quarantine AS held ON held.entity = %(entity)s AND held.row_id = source.id
WHERE source.migrated_from_proposal_id IS NULL
ORDER BY source.id

-- name: statistics_since
-- The begin of this database's statistics; NULL: its creation.
SELECT stats_reset AS since FROM pg_stat_database WHERE datname = current_database()
