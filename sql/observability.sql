-- name: audit_last_id
-- The newest entry of the audit log. Primary key.
SELECT coalesce(max(id), 0) AS id FROM migration.audit_log

-- name: audit_settled_id
-- The newest entry of the audit log that is older than so many seconds: an open transaction with an earlier entry would be as
-- old. From the end of the primary key; none in an empty log.
SELECT id
FROM migration.audit_log
WHERE at < clock_timestamp() - make_interval(secs => %(seconds)s)
ORDER BY id DESC
LIMIT 1

-- name: dashboard_auto_approval
-- Strategy §6.4: the share of proposals of proposal mode that needed no reviewer; and §11.2, metric 4: of those ever approved
-- automatically, the share that was not undone or rejected since. NULL where there is none (ERRATA V2). An undone proposal no
-- longer shows its approval, so the audit log is read, by its index on the subject. Replayed proposals do not count as approved.
SELECT
    counted.entity AS label, counted.approved::double precision / nullif(counted.proposals, 0) AS rate,
    counted.approved::double precision / nullif(counted.approved + counted.undone, 0) AS accuracy
FROM (
    SELECT
        since.entity, count(*) AS proposals, count(*) FILTER (WHERE since.review_action = 'auto_approve') AS approved,
        count(*) FILTER (
            WHERE since.review_action IS DISTINCT FROM 'auto_approve' AND EXISTS (
                SELECT FROM migration.audit_log AS entry
                WHERE entry.subject = since.entity || %(proposal)s || since.id AND entry.action = %(auto_approve)s
            )
        ) AS undone
    FROM ({since}) AS since
    WHERE since.origin = 'proposal'
    GROUP BY since.entity
) AS counted
ORDER BY label

-- name: dashboard_backlog
-- Strategy §6.4: pending proposals, those older than an hour and a day, and the age of the oldest. Through the indexes on status
-- and creation.
SELECT
    waiting.entity AS label, count(*) AS pending,
    count(*) FILTER (WHERE waiting.created_at < now() - interval '1 hour') AS over_an_hour,
    count(*) FILTER (WHERE waiting.created_at < now() - interval '24 hours') AS over_a_day,
    coalesce(extract(epoch FROM now() - min(waiting.created_at))::double precision, 0) AS oldest_seconds
FROM (
    SELECT 'topic' AS entity, topic.created_at FROM public.topic_proposals AS topic WHERE topic.status = 'pending'
    UNION ALL
    SELECT 'atom', atom.created_at FROM public.atom_proposals AS atom WHERE atom.status = 'pending'
) AS waiting
GROUP BY waiting.entity
ORDER BY label

-- name: dashboard_duplicates
-- Strategy §11.2, metric 3: the share of proposals that are similar to an existing row, and their average score, per kind and
-- origin. NULL where none is (ERRATA V2).
SELECT
    concat_ws('/', since.entity, since.origin) AS label, count(*) FILTER (WHERE since.similar)::double precision / nullif(count(*), 0) AS rate,
    avg(since.similarity_score) FILTER (WHERE since.similar) AS average_score
FROM ({since}) AS since
GROUP BY since.entity, since.origin
ORDER BY label

-- name: dashboard_new_knowledge
-- Strategy §4.2: topics and atoms created in the last hour. Reads the newest 20,000 ids of each table backwards, so it needs no
-- index on created_at.
SELECT 'topic' AS label, count(*) AS created
FROM (SELECT topic.created_at FROM public.topics AS topic ORDER BY topic.id DESC LIMIT 20000) AS newest
WHERE newest.created_at > now() - interval '1 hour'
UNION ALL
SELECT 'atom', count(*)
FROM (SELECT atom.created_at FROM public.atoms AS atom ORDER BY atom.id DESC LIMIT 20000) AS newest
WHERE newest.created_at > now() - interval '1 hour'

-- name: dashboard_rates
-- Strategy §6.4 and §4.2: extractions of the last hour by mode and status, with their proposals. Through
-- idx_knowledge_runs_created; the backfill's run has a mode of its own.
SELECT
    concat_ws('/', run.settings ->> 'mode', run.status) AS label, count(*) AS extractions,
    coalesce(sum((run.settings ->> 'topic_proposals')::int + (run.settings ->> 'atom_proposals')::int), 0)::bigint AS proposals
FROM public.knowledge_extraction_runs AS run
WHERE run.created_at > now() - interval '1 hour' AND run.settings ->> 'mode' IN ('direct', 'dual_write', 'proposal')
GROUP BY run.settings ->> 'mode', run.status
ORDER BY label

-- name: dashboard_review_by_day
-- Strategy §11.2, metric 2, by day: how many proposals people decided, and their average wait. For a table.
SELECT
    (since.reviewed_at AT TIME ZONE 'UTC')::date AS day, since.entity, count(*) AS reviewed,
    round(avg(extract(epoch FROM since.reviewed_at - since.created_at))) AS average_wait_seconds
FROM ({since}) AS since
WHERE since.origin = 'proposal' AND since.review_action IN ('approve', 'reject', 'merge')
GROUP BY day, since.entity
ORDER BY day DESC, since.entity

-- name: dashboard_review_velocity
-- Strategy §11.2, metric 2: decisions of people per kind about the window's proposals, and their median wait. The time that a
-- person takes is another metric: gate_review_seconds.
SELECT
    since.entity AS label, count(*) AS reviewed,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM since.reviewed_at - since.created_at))::double precision AS waited_seconds
FROM ({since}) AS since
WHERE since.origin = 'proposal' AND since.review_action IN ('approve', 'reject', 'merge')
GROUP BY since.entity
ORDER BY label

-- name: dashboard_runs
-- Strategy appendix C: the latest extractions with the number of their proposals, counted per run, not over the whole tables.
SELECT
    run.id, run.settings ->> 'mode' AS mode, run.status, run.started_at,
    (SELECT count(*) FROM public.topic_proposals AS topic WHERE topic.extraction_run_id = run.id) AS topic_proposals,
    (SELECT count(*) FROM public.atom_proposals AS atom WHERE atom.extraction_run_id = run.id) AS atom_proposals
FROM public.knowledge_extraction_runs AS run
WHERE run.settings ->> 'mode' IS NOT NULL
ORDER BY run.created_at DESC, run.id DESC
LIMIT 20

-- name: dashboard_status_distribution
-- Strategy §6.4 and §11.2, metric 1: proposals by status with their average confidence, per kind and origin (ERRATA V1, V21).
SELECT concat_ws('/', since.entity, since.origin, since.status) AS label, count(*) AS proposals,
       round(avg(since.confidence)::numeric, 4)::double precision AS average_confidence
FROM ({since}) AS since
GROUP BY since.entity, since.origin, since.status
ORDER BY label

-- name: dashboard_sure_but_not_approved
-- Strategy appendix C: proposals at or above the threshold of automatic approval that were not approved automatically, and why.
-- The backfill's proposals are left out (ERRATA V19).
SELECT
    since.entity, since.id, since.confidence, since.status, since.created_at,
    CASE
        WHEN since.review_action = 'undo' THEN 'a decision was undone: a person decides'
        WHEN since.origin = 'dual_write' THEN 'created in dual write: approved with the direct write'
        WHEN since.similar THEN 'similar to an existing row: a person decides'
        WHEN since.review_action IN ('park', 'replay') THEN 'parked or replayed by a rollback'
        WHEN since.review_action IN ('approve', 'reject', 'merge') THEN 'a person decided'
        ELSE 'the sensor auto_approval approves it if automatic approval is on'
    END AS why
FROM ({since}) AS since
WHERE since.confidence >= %(threshold)s AND since.review_action IS DISTINCT FROM 'auto_approve'
ORDER BY since.confidence DESC, since.id
LIMIT 50

-- name: dashboard_waiting_longest
-- Strategy appendix C: proposals that have been pending for more than a day, the highest confidence first.
SELECT * FROM (
    (SELECT 'topic' AS entity, topic.id, topic.name AS title, topic.confidence, topic.created_at
     FROM public.topic_proposals AS topic
     WHERE topic.status = 'pending' AND topic.created_at < now() - interval '24 hours'
     ORDER BY topic.confidence DESC, topic.id LIMIT 20)
    UNION ALL
    (SELECT 'atom', atom.id, atom.title, atom.confidence, atom.created_at
     FROM public.atom_proposals AS atom
     WHERE atom.status = 'pending' AND atom.created_at < now() - interval '24 hours'
     ORDER BY atom.confidence DESC, atom.id LIMIT 20)
) AS waiting
ORDER BY waiting.confidence DESC, waiting.id
LIMIT 20

-- name: decisions_since
-- Rollbacks, promotions, overrides and actions of the guard after an entry of the audit log, without those already sent, oldest
-- first. Reads from that entry on by the primary key.
SELECT id, at, actor, action, subject, reason
FROM migration.audit_log
WHERE id > %(after)s AND action = ANY (%(actions)s) AND NOT id = ANY (%(sent)s)
ORDER BY id
LIMIT %(most)s

-- name: extraction_failures
-- Extractions since a moment, and how many of them failed. Uses the index on created_at; runs of the backfill and the capture do
-- not count.
SELECT count(*) AS sample, count(*) FILTER (WHERE status = 'failed') AS failed
FROM public.knowledge_extraction_runs
WHERE created_at > %(since)s AND coalesce(settings ->> 'mode', '') NOT IN ('backfill', 'captured') AND status IN ('completed', 'failed')

-- name: metric_forget
-- Deletes a bounded number of samples that are older than the retention time. Through the index on time.
DELETE FROM migration.metric AS old
USING (
    SELECT one.metric, one.label, one.measured_at FROM migration.metric AS one
    WHERE one.measured_at < now() - make_interval(days => %(days)s) ORDER BY one.measured_at LIMIT 10000
) AS gone
WHERE (old.metric, old.label, old.measured_at) = (gone.metric, gone.label, gone.measured_at)

-- name: metric_history
-- Samples since a moment, in order, for plots.
SELECT one.metric, one.label, one.measured_at, one.value
FROM migration.metric AS one
WHERE one.measured_at >= %(since)s
ORDER BY one.measured_at, one.metric, one.label
LIMIT 200000

-- name: metric_insert
-- Stores the samples of one moment; an existing one stays.
INSERT INTO migration.metric (metric, label, measured_at, value)
SELECT one.metric, one.label, %(at)s, one.value
FROM unnest(%(metrics)s::text[], %(labels)s::text[], %(values)s::double precision[]) AS one (metric, label, value)
ON CONFLICT DO NOTHING

-- name: proposals_since
-- The proposals of extractions that began in the window, each with its origin: proposal mode or dual write. The backfill's
-- proposals are left out; they would hide what users do. Through idx_knowledge_runs_created and the index of the proposals' run.
SELECT proposed.*, run.settings ->> 'mode' AS origin
FROM public.knowledge_extraction_runs AS run
CROSS JOIN LATERAL (
    SELECT 'topic' AS entity, topic.id, topic.status, topic.confidence, topic.similar_topic_id IS NOT NULL AS similar,
           topic.similarity_score, topic.review_action, topic.reviewed_at, topic.created_at
    FROM public.topic_proposals AS topic WHERE topic.extraction_run_id = run.id
    UNION ALL
    SELECT 'atom', atom.id, atom.status, atom.confidence, atom.similar_atom_id IS NOT NULL,
           atom.similarity_score, atom.review_action, atom.reviewed_at, atom.created_at
    FROM public.atom_proposals AS atom WHERE atom.extraction_run_id = run.id
) AS proposed
WHERE run.created_at > now() - make_interval(secs => %(window_seconds)s)
  AND run.settings ->> 'mode' IN ('dual_write', 'proposal')

-- name: report_audit_of_proposals
-- Decisions about proposals, by day, action and person.
SELECT
    (entry.at AT TIME ZONE 'UTC')::date AS day, entry.action, entry.actor, count(*) AS proposals, min(entry.at) AS first,
    max(entry.at) AS last
FROM migration.audit_log AS entry
WHERE entry.action = ANY (%(decisions)s)
GROUP BY day, entry.action, entry.actor
ORDER BY last DESC
LIMIT 500

-- name: report_backfill_speed
-- Rows that the backfill linked, summed over steps of its whole time, for a plot: about a hundred points.
SELECT
    step.entity, min(step.committed_at) AS at, sum(step.linked_rows)::bigint AS linked, sum(step.quarantined_rows)::bigint AS quarantined,
    count(*) AS batches, max(step.seconds) AS slowest_seconds
FROM (
    SELECT batch.*, width_bucket(extract(epoch FROM batch.committed_at), extract(epoch FROM whole.first), extract(epoch FROM whole.last) + 0.001, 100) AS number
    FROM migration.backfill_batch AS batch
    CROSS JOIN (SELECT min(committed_at) AS first, max(committed_at) AS last FROM migration.backfill_batch) AS whole
) AS step
GROUP BY step.entity, step.number
ORDER BY at
