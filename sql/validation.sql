-- name: criteria_backfill_time
-- Linked and quarantined rows of the backfill, the seconds of its batches, and its elapsed seconds.
SELECT
    sum(ledger.linked_rows)::bigint AS linked, sum(ledger.quarantined_rows)::bigint AS quarantined,
    sum(ledger.seconds) AS working_seconds,
    (SELECT extract(epoch FROM run.completed_at - run.started_at) FROM public.knowledge_extraction_runs AS run
     WHERE run.id = migration.origin_proposal_id('knowledge_extraction_runs', 0)) AS elapsed_seconds
FROM migration.backfill_batch AS ledger

-- name: criteria_confirmations
-- The latest confirmation of each criterion by a person.
SELECT DISTINCT ON (kept.content ->> 'criterion') kept.content ->> 'criterion' AS criterion, kept.recorded_at, kept.content
FROM migration.evidence AS kept
WHERE kept.kind = 'confirmation' AND kept.database = migration.this_database()
ORDER BY kept.content ->> 'criterion', kept.id DESC

-- name: criteria_dual_written
-- The latest 1,000 completed extractions in dual write: their proposals, those with an entity, and those below the threshold of
-- direct mode. Uses idx_knowledge_runs_created and the index of the proposals' run.
SELECT
    count(DISTINCT run.id) AS extractions, count(proposed.id) AS proposals,
    count(proposed.id) FILTER (WHERE proposed.linked) AS with_knowledge,
    count(proposed.id) FILTER (WHERE proposed.confidence < %(threshold)s) AS unsure
FROM public.knowledge_extraction_runs AS run
LEFT JOIN LATERAL (
    SELECT topic.id, topic.confidence,
           EXISTS (SELECT FROM public.topics AS made WHERE made.migrated_from_proposal_id = topic.id) AS linked
    FROM public.topic_proposals AS topic WHERE topic.extraction_run_id = run.id
    UNION ALL
    SELECT atom.id, atom.confidence,
           EXISTS (SELECT FROM public.atoms AS made WHERE made.migrated_from_proposal_id = atom.id)
    FROM public.atom_proposals AS atom WHERE atom.extraction_run_id = run.id
) AS proposed ON true
WHERE run.id IN (
    SELECT latest.id FROM public.knowledge_extraction_runs AS latest
    WHERE latest.status = 'completed' AND latest.settings ->> 'mode' = 'dual_write'
    ORDER BY latest.created_at DESC LIMIT 1000
)

-- name: criteria_requests
-- Requests, server errors and requests without a connection in the last days, as the service counted them.
SELECT
    coalesce(sum(measured.requests), 0)::bigint AS requests, coalesce(sum(measured.errors), 0)::bigint AS errors,
    coalesce(sum(measured.pool_timeouts), 0)::bigint AS pool_timeouts
FROM migration.service_measurement AS measured
WHERE measured.at > now() - make_interval(days => %(days)s)

-- name: criteria_rows_up_to
-- The number of rows of a table up to an id.
SELECT count(*) AS rows FROM {table} AS source WHERE source.id <= %(last)s

-- name: functional_insert_proposal
-- A synthetic pending proposal in the run of a synthetic message.
INSERT INTO public.topic_proposals (id, extraction_run_id, name, description, confidence, status, reasoning)
VALUES (%(id)s, %(run)s, %(name)s, 'Created by a functional validation, which removes it.', %(confidence)s, 'pending',
        'A functional validation of the running service')

-- name: functional_pending_topic
-- A pending topic proposal of one run whose name contains the validation's unique word.
SELECT id FROM public.topic_proposals
WHERE extraction_run_id = %(run)s AND status = 'pending' AND name ILIKE %(name)s
ORDER BY id LIMIT 1

-- name: functional_pool_timeouts
-- Requests without a connection since a time, as the processes of the service counted them.
SELECT coalesce(sum(measured.pool_timeouts), 0)::bigint AS pool_timeouts
FROM migration.service_measurement AS measured
WHERE measured.at >= %(since)s

-- name: functional_topics_of
-- The topics that a proposal is the origin of.
SELECT id FROM public.topics WHERE migrated_from_proposal_id = %(proposal)s ORDER BY id

-- name: in_range
-- Restricts a rule that returns row ids to one id range; the planner pushes the range down to the primary key.
SELECT ranged.* FROM ({rule}) AS ranged WHERE ranged.id > %(after)s AND ranged.id <= %(through)s

-- name: judged_by_version
-- Whether a pair `source`, `proposal` must be equal, because the row was not written since it was linked. Its version is then
-- that of a batch, of a captured statement, or of a proposal written with it; any later UPDATE changes it, even without a new updated_at. After a
-- restore, which loses the versions, only updated_at shows a later write.
CASE WHEN %(versions_kept)s
    THEN source.row_version = proposal.xmin
         OR source.row_version IN (SELECT ledger.xmin FROM migration.backfill_batch AS ledger WHERE ledger.entity = %(entity)s)
         OR source.row_version IN (SELECT log.xmin FROM migration.capture_log AS log WHERE log.entity = %(entity)s)
    ELSE coalesce(source.updated_at <= source.migration_timestamp, true)
END

-- name: latest_messages
-- Texts of the latest messages, for a measurement that is rolled back. Scans the primary key backwards.
SELECT content FROM public.messages WHERE content <> '' ORDER BY id DESC LIMIT %(messages)s

-- name: probe_proposals
-- The proposals of one run, each with the row that links to it, and whether the two have equal values.
SELECT 'topic' AS entity, proposal.id AS proposal_id, proposal.status, proposal.entity_id, row.id AS linked_id,
       (proposal.name, proposal.description, proposal.icon, proposal.color)
           IS NOT DISTINCT FROM (row.name, row.description, row.icon, row.color) AS equal
FROM public.topic_proposals AS proposal
LEFT JOIN public.topics AS row ON row.migrated_from_proposal_id = proposal.id
WHERE proposal.extraction_run_id = %(run)s
UNION ALL
SELECT 'atom', proposal.id, proposal.status, proposal.entity_id, row.id,
       (proposal.type, proposal.title, proposal.content, proposal.meta, proposal.confidence)
           IS NOT DISTINCT FROM (row.type, row.title, row.content, row.meta::jsonb, row.confidence)
FROM public.atom_proposals AS proposal
LEFT JOIN public.atoms AS row ON row.migrated_from_proposal_id = proposal.id
WHERE proposal.extraction_run_id = %(run)s

-- name: row_versions_kept
-- Whether row versions (xmin) still identify the transaction that wrote a row. Each batch of the ledger and the migration's run
-- had its own transaction, and a batch and its proposals share one, as do the row and the proposal of a linked pair; a dump and
-- restore breaks one of these. Pairs come first, because the first row answers. Proposals are counted, because EXISTS takes a
-- nested loop: 22 s for 300,000 proposals and 3,000 entries without a match.
SELECT (
    SELECT count(*) = count(DISTINCT written.version)
    FROM (
        SELECT ledger.xmin::text AS version FROM migration.backfill_batch AS ledger
        UNION ALL
        SELECT log.xmin::text FROM migration.capture_log AS log WHERE log.linked_rows > 0
        UNION ALL
        SELECT run.xmin::text FROM public.knowledge_extraction_runs AS run
        WHERE run.id = migration.origin_proposal_id('knowledge_extraction_runs', 0)
    ) AS written
) AND (
    NOT EXISTS (SELECT FROM migration.backfill_batch AS ledger WHERE ledger.entity = %(entity)s)
    OR EXISTS (
        SELECT FROM {table} AS source
        JOIN {proposals} AS proposal ON proposal.id = source.migrated_from_proposal_id AND proposal.xmin = source.xmin
    )
    OR (
        SELECT count(*) > 0 FROM {proposals} AS proposal
        WHERE proposal.xmin IN (SELECT ledger.xmin FROM migration.backfill_batch AS ledger WHERE ledger.entity = %(entity)s)
    )
) AS kept

-- name: synthetic_atoms
-- The atoms that extractions of synthetic messages created, locked: those whose origin is a proposal of these runs, and those
-- of direct mode. `kept_because` says why an atom stays; NULL where nobody has touched it. An atom that existed before is the
-- origin of no such proposal. Uses the indexes on the proposals' run and on the link; direct mode costs one scan.
SELECT
    row.id,
    CASE
        WHEN proposal.id IS NULL AND row.xmin::text <> ALL (%(versions)s::text[]) THEN 'somebody has changed it'
        WHEN proposal.review_action IN ('approve', 'reject', 'merge', 'undo') AND proposal.review_notes IS DISTINCT FROM %(name)s
            THEN 'a person has decided about its proposal'
        WHEN row.updated_at IS DISTINCT FROM row.created_at
            OR proposal.id IS NOT NULL AND (row.type, row.title, row.content, row.meta::jsonb, row.confidence)
                IS DISTINCT FROM (proposal.type, proposal.title, proposal.content, proposal.meta, proposal.confidence)
            THEN 'somebody has changed it'
        WHEN EXISTS (
            SELECT FROM public.atom_proposals AS other
            WHERE other.similar_atom_id = row.id AND other.extraction_run_id <> ALL (%(run_ids)s)
        ) THEN 'a proposal is compared with it'
        WHEN EXISTS (
            SELECT FROM public.topic_atoms AS filed WHERE filed.atom_id = row.id AND coalesce(filed.note, '') NOT LIKE 'Extracted%%'
        ) THEN 'somebody has filed it under a topic'
    END AS kept_because
FROM public.atoms AS row
LEFT JOIN public.atom_proposals AS proposal ON proposal.id = row.migrated_from_proposal_id
WHERE row.id IN (
    SELECT linked.id FROM public.atom_proposals AS origin JOIN public.atoms AS linked ON linked.migrated_from_proposal_id = origin.id
    WHERE origin.extraction_run_id = ANY (%(run_ids)s)
    UNION ALL
    SELECT direct.id FROM public.atoms AS direct
    WHERE cardinality(%(moments)s::timestamptz[]) > 0
      AND direct.migrated_from_proposal_id IS NULL AND direct.created_at = ANY (%(moments)s::timestamptz[])
)
ORDER BY row.id
FOR UPDATE OF row

-- name: synthetic_direct_writes
-- The transactions that gave a synthetic message its topic, each with its row version and its time. In direct mode, and in dual
-- write without proposals, one transaction writes this and all topics and atoms; DEFAULT now() gives them the same time.
SELECT DISTINCT message.xmin::text AS version, message.updated_at AS moment
FROM public.messages AS message
WHERE message.id = ANY (%(message_ids)s) AND message.topic_id IS NOT NULL

-- name: synthetic_forget
-- Deletes a mark, in the transaction that removes its rows.
DELETE FROM migration.evidence WHERE kind = 'synthetic_messages' AND id = %(mark)s

-- name: synthetic_insert
-- Synthetic messages with these texts, by an existing author in an existing source; analyzed from the start, so that no worker
-- of the application processes them. Takes KEY SHARE on one row of each.
INSERT INTO public.messages (external_message_id, content, sent_at, source_id, author_id, analyzed)
SELECT %(name)s || '-' || text.number, text.content, now() AT TIME ZONE 'UTC', source.id, author.id, true
FROM unnest(%(contents)s::text[]) WITH ORDINALITY AS text (content, number),
     (SELECT id FROM public.sources ORDER BY id LIMIT 1) AS source,
     (SELECT id FROM public.users ORDER BY id LIMIT 1) AS author
RETURNING id

-- name: synthetic_left_proposals
-- The remaining proposals of these runs.
SELECT proposal.id FROM {proposals} AS proposal WHERE proposal.extraction_run_id = ANY (%(run_ids)s) ORDER BY proposal.id

-- name: synthetic_lock_runs
-- Locks the runs of synthetic messages; a reviewer of their proposals also locks the run first, and waits.
SELECT id FROM public.knowledge_extraction_runs WHERE id = ANY (%(run_ids)s) ORDER BY id FOR UPDATE

-- name: synthetic_marks
-- The marks of synthetic messages that are not removed yet, oldest first. Uses evidence_by_kind.
SELECT id, recorded_at, content FROM migration.evidence WHERE kind = 'synthetic_messages' ORDER BY id

-- name: synthetic_remove_atom_links
-- The links between synthetic atoms; a link to another atom stays, and keeps the atom.
DELETE FROM public.atom_links WHERE from_atom_id = ANY (%(atom_ids)s) AND to_atom_id = ANY (%(atom_ids)s)

-- name: synthetic_remove_atom_relations
-- The relations of one synthetic atom.
DELETE FROM public.topic_atoms WHERE atom_id = %(id)s

-- name: synthetic_remove_messages
-- The synthetic messages.
DELETE FROM public.messages WHERE id = ANY (%(message_ids)s)

-- name: synthetic_remove_proposals
-- The proposals of these runs, except those whose row stays, and those that a person has decided about.
DELETE FROM {proposals} AS proposal
WHERE proposal.extraction_run_id = ANY (%(run_ids)s)
  AND NOT EXISTS (SELECT FROM {table} AS row WHERE row.migrated_from_proposal_id = proposal.id)
  AND NOT (
      coalesce(proposal.review_action, '') IN ('approve', 'reject', 'merge', 'undo')
      AND proposal.review_notes IS DISTINCT FROM %(name)s
  )

-- name: synthetic_remove_row
-- One synthetic row; a foreign key of a row that refers to it prevents this.
DELETE FROM {table} WHERE id = %(id)s

-- name: synthetic_remove_runs
-- These runs, except those that still have a proposal.
DELETE FROM public.knowledge_extraction_runs AS run
WHERE run.id = ANY (%(run_ids)s)
  AND NOT EXISTS (SELECT FROM public.topic_proposals AS topic WHERE topic.extraction_run_id = run.id)
  AND NOT EXISTS (SELECT FROM public.atom_proposals AS atom WHERE atom.extraction_run_id = run.id)

-- name: synthetic_runs
-- The runs of synthetic messages with their status. Uses idx_knowledge_runs_created.
SELECT run.id, run.status
FROM public.knowledge_extraction_runs AS run
WHERE run.created_at >= %(since)s - interval '1 minute' AND run.message_count > 0
  AND run.message_ids <@ to_jsonb(%(message_ids)s::bigint[])
ORDER BY run.created_at, run.id

-- name: synthetic_texts
-- Texts of the application's latest messages, for a realistic load.
SELECT content FROM public.messages WHERE length(content) BETWEEN 20 AND 4000 ORDER BY id DESC LIMIT %(limit)s

-- name: synthetic_topics
-- The topics that extractions of synthetic messages created, locked, as synthetic_atoms. An atom or a message that somebody
-- filed under a topic prevents its deletion by its foreign key; a proposed atom only names it.
SELECT
    row.id,
    CASE
        WHEN proposal.id IS NULL AND row.xmin::text <> ALL (%(versions)s::text[]) THEN 'somebody has changed it'
        WHEN proposal.review_action IN ('approve', 'reject', 'merge', 'undo') AND proposal.review_notes IS DISTINCT FROM %(name)s
            THEN 'a person has decided about its proposal'
        WHEN row.updated_at IS DISTINCT FROM row.created_at
            OR proposal.id IS NOT NULL AND (row.name, row.description, row.icon, row.color)
                IS DISTINCT FROM (proposal.name, proposal.description, proposal.icon, proposal.color)
            THEN 'somebody has changed it'
        WHEN EXISTS (
            SELECT FROM public.topic_proposals AS other
            WHERE other.similar_topic_id = row.id AND other.extraction_run_id <> ALL (%(run_ids)s)
        ) THEN 'a proposal is compared with it'
        WHEN EXISTS (
            SELECT FROM public.atom_proposals AS other
            WHERE other.created_at >= %(since)s - interval '1 minute' AND other.extraction_run_id <> ALL (%(run_ids)s)
              AND other.proposed_topic_ids @> to_jsonb(row.id)
        ) THEN 'a proposed atom is for it'
    END AS kept_because
FROM public.topics AS row
LEFT JOIN public.topic_proposals AS proposal ON proposal.id = row.migrated_from_proposal_id
WHERE row.id IN (
    SELECT linked.id FROM public.topic_proposals AS origin JOIN public.topics AS linked ON linked.migrated_from_proposal_id = origin.id
    WHERE origin.extraction_run_id = ANY (%(run_ids)s)
    UNION ALL
    SELECT direct.id FROM public.topics AS direct
    WHERE cardinality(%(moments)s::timestamptz[]) > 0
      AND direct.migrated_from_proposal_id IS NULL AND direct.created_at = ANY (%(moments)s::timestamptz[])
)
ORDER BY row.id
FOR UPDATE OF row

-- name: synthetic_users
-- Users, by id.
SELECT id FROM public.users ORDER BY id LIMIT 10000

-- name: value_comparison_extent
-- The number of linked pairs, of pairs that can be judged, of rows edited since they were linked, and of rows written since
-- without a new updated_at.
SELECT
    count(*) AS linked,
    count(*) FILTER (WHERE extent.judged) AS compared,
    count(*) FILTER (WHERE NOT extent.judged AND extent.stamped) AS edited_since,
    count(*) FILTER (WHERE NOT extent.judged AND NOT extent.stamped) AS written_since_unstamped
FROM (
    SELECT ({judged}) AS judged, coalesce(source.updated_at > source.migration_timestamp, false) AS stamped
    FROM (
        SELECT source.migrated_from_proposal_id, source.migration_timestamp, source.updated_at, source.xmin AS row_version
        FROM {table} AS source
    ) AS source
    JOIN {proposals} AS proposal ON proposal.id = source.migrated_from_proposal_id
) AS extent

-- name: verification_all_rows
-- Every row of the table.
{table} AS source

-- name: verification_changed_ranges
-- The key ranges in which a row or its proposal was written by a transaction that had not ended at an earlier horizon. Reads
-- both tables once, without their long values.
SELECT DISTINCT source.id >> %(shift)s AS key_range
FROM {table} AS source
WHERE source.migrated_from_proposal_id IS NOT NULL
  AND (
      age(source.xmin) <= age(%(horizon)s::text::xid8::xid)
      OR source.migrated_from_proposal_id IN (
          SELECT proposal.id FROM {proposals} AS proposal WHERE age(proposal.xmin) <= age(%(horizon)s::text::xid8::xid)
      )
  )
ORDER BY key_range

-- name: verification_compared_ranges
-- Compares every linked pair of these rows, value by value and NULL-safe, aggregated by key range: the number of pairs, of
-- judged pairs (not written since they were linked), and the rows that differ. Rows edited since are not compared. One join.
SELECT
    compared.key_range,
    count(*) AS linked,
    count(*) FILTER (WHERE compared.judged) AS compared,
    count(*) FILTER (WHERE NOT compared.judged AND NOT compared.stamped) AS written_since_unstamped,
    coalesce(array_agg(compared.id) FILTER (WHERE compared.differs), ARRAY[]::bigint[]) AS differing
FROM (
    SELECT
        source.id::bigint AS id, source.id >> %(shift)s AS key_range, ({judged}) AS judged,
        coalesce(source.updated_at > source.migration_timestamp, false) AS stamped,
        CASE WHEN ({judged}) THEN ({differs}) ELSE false END AS differs
    FROM (
        SELECT {taken}, source.migrated_from_proposal_id, source.migration_timestamp, source.updated_at,
               source.xmin AS row_version, held.policy AS quarantine_policy
        FROM {rows}
        LEFT JOIN migration.quarantine AS held ON held.entity = %(entity)s AND held.row_id = source.id
    ) AS source
    JOIN {proposals} AS proposal ON proposal.id = source.migrated_from_proposal_id
) AS compared
GROUP BY compared.key_range
ORDER BY compared.key_range

-- name: verification_countable
-- Whether row versions can be compared with an earlier horizon: it is not ahead of this cluster's transactions, and not so far
-- behind that the 32 bits of a row version have wrapped around.
SELECT pg_snapshot_xmax(pg_current_snapshot())::text::numeric - %(horizon)s::text::numeric BETWEEN 0 AND 1000000000 AS countable

-- name: verification_moment
-- The present horizon: every transaction below it has ended and is visible. Cluster and database identify the counter, which
-- restarts after a restore elsewhere.
SELECT
    pg_snapshot_xmin(pg_current_snapshot())::text AS horizon,
    (SELECT control.system_identifier::text FROM pg_control_system() AS control) AS cluster,
    (SELECT own.oid::text FROM pg_database AS own WHERE own.datname = current_database()) AS database_oid

-- name: verification_ranges
-- The number of key ranges that the ids of a table span, from both ends of its primary key.
SELECT coalesce((max(source.id) >> %(shift)s) - (min(source.id) >> %(shift)s) + 1, 0) AS ranges FROM {table} AS source

-- name: verification_rows_by_id
-- Some rows, each read through the primary key.
unnest(%(ids)s::bigint[]) AS wanted (id)
JOIN {table} AS source ON source.id = wanted.id

-- name: verification_rows_in_ranges
-- The rows of some key ranges, each read through the primary key.
unnest(%(ranges)s::bigint[]) AS wanted (key_range)
JOIN {table} AS source ON source.id BETWEEN wanted.key_range << %(shift)s
    AND (wanted.key_range << %(shift)s) + ((1::bigint << %(shift)s) - 1)
