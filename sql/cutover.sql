-- name: gate_auto_approval
-- Proposals of extractions in proposal mode in a window, and how many were approved automatically. Backfilled and
-- dual-written ones belong to other runs. Uses the indexes on created_at of the proposals.
SELECT count(*) AS sample, count(*) FILTER (WHERE proposal.review_action = 'auto_approve') AS hits
FROM (
    SELECT extraction_run_id, review_action FROM public.topic_proposals WHERE created_at > %(since)s AND created_at <= %(until)s
    UNION ALL
    SELECT extraction_run_id, review_action FROM public.atom_proposals WHERE created_at > %(since)s AND created_at <= %(until)s
) AS proposal
JOIN public.knowledge_extraction_runs AS run ON run.id = proposal.extraction_run_id
WHERE run.settings ->> 'mode' = 'proposal'

-- name: gate_disturbed
-- The end of the last load test, or now during one. The mark of a killed load test counts for 15 minutes only, so that it
-- does not disable the gates for ever. Relies on evidence_by_kind.
SELECT greatest(
    (SELECT tested.recorded_at FROM migration.evidence AS tested WHERE tested.kind = 'load_test' ORDER BY tested.id DESC LIMIT 1),
    (SELECT %(now)s::timestamptz WHERE EXISTS (
        SELECT FROM migration.evidence AS mark
        WHERE mark.kind = 'synthetic_messages' AND mark.recorded_at > %(now)s::timestamptz - interval '15 minutes'
    ))
) AS until

-- name: gate_extractions
-- Extractions in a window by mode: accepted ones, failed ones, and the sums of the logarithms of their seconds.
-- Uses the primary key of the measurements.
SELECT mode, sum(requests - refused)::bigint AS sample, sum(errors)::bigint AS hits,
       sum(requests - refused - errors)::bigint AS answered,
       sum(log_seconds) AS log_seconds, sum(log_seconds_squared) AS log_seconds_squared
FROM migration.service_measurement
WHERE at > %(since)s AND at <= %(until)s AND operation = 'extraction'
GROUP BY mode

-- name: gate_history
-- Every verdict of the last days, for a plot.
SELECT at, stage, metric, verdict, value, threshold, sample_size
FROM migration.gate_evaluation
WHERE at > %(since)s AND database = migration.this_database()
ORDER BY id
LIMIT 20000

-- name: gate_inconsistencies
-- Inconsistencies since the last change of flags: rows above the backfill's bound without a proposal for a minute, approved
-- proposals whose row exists and does not name them, extractions that recorded more proposals than exist. Rows of the
-- backfill are never among them. Primary keys, and the indexes on created_at of runs and proposals.
WITH unlinked AS (
    SELECT 'topic ' || id AS what FROM public.topics
    WHERE id > %(topics_above)s AND migrated_from_proposal_id IS NULL
      AND created_at > %(since)s AND created_at < %(until)s - interval '1 minute'
    UNION ALL
    SELECT 'atom ' || id FROM public.atoms
    WHERE id > %(atoms_above)s AND migrated_from_proposal_id IS NULL
      AND created_at > %(since)s AND created_at < %(until)s - interval '1 minute'
),
orphaned AS (
    SELECT 'topic proposal ' || proposal.id AS what
    FROM public.topic_proposals AS proposal
    LEFT JOIN public.topics AS entity ON entity.id = proposal.entity_id
    WHERE proposal.created_at > %(since)s AND proposal.status IN ('approved', 'auto_approved')
      AND CASE WHEN proposal.entity_id IS NULL
          THEN proposal.similarity_type IS DISTINCT FROM 'exact'
          ELSE entity.id IS NOT NULL AND entity.migrated_from_proposal_id IS DISTINCT FROM proposal.id
      END
      AND proposal.review_action IS DISTINCT FROM 'auto_approve_migration'
    UNION ALL
    SELECT 'atom proposal ' || proposal.id
    FROM public.atom_proposals AS proposal
    LEFT JOIN public.atoms AS entity ON entity.id = proposal.entity_id
    WHERE proposal.created_at > %(since)s AND proposal.status IN ('approved', 'auto_approved')
      AND CASE WHEN proposal.entity_id IS NULL
          THEN proposal.similarity_type IS DISTINCT FROM 'exact'
          ELSE entity.id IS NOT NULL AND entity.migrated_from_proposal_id IS DISTINCT FROM proposal.id
      END
      AND proposal.review_action IS DISTINCT FROM 'auto_approve_migration'
),
extractions AS (
    SELECT run.id, run.settings,
           (SELECT count(*) FROM public.topic_proposals WHERE extraction_run_id = run.id)
           + (SELECT count(*) FROM public.atom_proposals WHERE extraction_run_id = run.id) AS proposals
    FROM public.knowledge_extraction_runs AS run
    WHERE run.created_at > %(since)s AND run.status = 'completed' AND run.settings ->> 'mode' IN ('dual_write', 'proposal')
),
incomplete AS (
    SELECT 'extraction ' || id AS what
    FROM extractions
    WHERE proposals < coalesce((settings ->> 'topic_proposals')::bigint, 0)
                      + coalesce((settings ->> 'atom_proposals')::bigint, 0)
),
violations AS (
    SELECT what FROM unlinked UNION ALL SELECT what FROM orphaned UNION ALL SELECT what FROM incomplete
)
SELECT (SELECT count(*) FROM extractions) AS sample, count(violations.what) AS hits,
       (array_agg(violations.what ORDER BY violations.what))[1:10] AS first
FROM violations

-- name: gate_last
-- The latest verdict of each metric in the given states, each read through the index by stage and metric.
SELECT DISTINCT ON (metric.name) metric.name AS metric, latest.*
FROM unnest(%(metrics)s::text[]) AS metric (name)
CROSS JOIN unnest(%(states)s::text[]) AS state (name)
CROSS JOIN LATERAL (
    SELECT judged.at, judged.stage, judged.verdict, judged.value, judged.threshold, judged.sample_size, judged.detail, judged.id
    FROM migration.gate_evaluation AS judged
    WHERE judged.stage = state.name AND judged.metric = metric.name AND judged.database = migration.this_database()
    ORDER BY judged.id DESC
    LIMIT 1
) AS latest
ORDER BY metric.name, latest.id DESC

-- name: gate_latest
-- The latest verdicts of one metric since a moment, newest first. Uses the index by stage and metric.
SELECT at, verdict
FROM migration.gate_evaluation
WHERE stage = %(stage)s AND metric = %(metric)s AND at >= %(since)s AND database = migration.this_database()
ORDER BY id DESC
LIMIT 200

-- name: gate_open_shadow_failures
-- Direct writes whose proposals are still missing. Uses the partial index on the open ones.
SELECT count(*) AS hits FROM migration.shadow_failure WHERE repaired_at IS NULL

-- name: gate_pool_exhaustion
-- All requests, and those that got no connection in time. Uses the primary key of the measurements.
SELECT coalesce(sum(requests), 0)::bigint AS sample, coalesce(sum(pool_timeouts), 0)::bigint AS hits
FROM migration.service_measurement
WHERE at > %(since)s AND at <= %(until)s

-- name: gate_proposals_per_message
-- Proposals per message of each extraction: the number of extractions, mean and variance, by mode. Uses the index on
-- created_at of the runs; the backfill's run has a mode of its own.
SELECT settings ->> 'mode' AS mode, count(*) AS sample, avg(made) AS mean, coalesce(var_samp(made), 0) AS variance
FROM (
    SELECT settings,
           ((settings ->> 'topic_proposals')::double precision + (settings ->> 'atom_proposals')::double precision)
           / message_count AS made
    FROM public.knowledge_extraction_runs
    WHERE created_at > %(since)s AND created_at <= %(until)s AND status = 'completed' AND message_count > 0
      AND settings ->> 'mode' IN ('dual_write', 'proposal') AND settings ->> 'extractor' <> 'by hand'
) AS extraction
GROUP BY 1

-- name: gate_queue_depth
-- Pending proposals. Uses the indexes on status.
SELECT (SELECT count(*) FROM public.topic_proposals WHERE status = 'pending')
       + (SELECT count(*) FROM public.atom_proposals WHERE status = 'pending') AS hits

-- name: gate_record
-- Records one verdict. An append to a table of our own.
INSERT INTO migration.gate_evaluation
    (at, stage, metric, verdict, value, threshold, window_seconds, sample_size, detail, dagster_run_id)
VALUES
    (%(at)s, %(stage)s, %(metric)s, %(verdict)s, %(value)s, %(threshold)s, %(window_seconds)s, %(sample_size)s,
     %(detail)s, %(dagster_run_id)s)

-- name: gate_requests
-- Requests of users in a window, and how many of them failed; without extractions (counted as requests already) and without
-- those that a full queue refused. Uses the primary key of the measurements.
SELECT coalesce(sum(requests - refused), 0)::bigint AS sample, coalesce(sum(errors), 0)::bigint AS hits
FROM migration.service_measurement
WHERE at > %(since)s AND at <= %(until)s AND operation NOT IN ('extraction', 'pool')

-- name: gate_review_seconds
-- The seconds from one decision of a reviewer to the next: the median of those less than ten minutes apart (a longer gap
-- is a pause). Reads the audit log of the window.
SELECT count(*) AS sample, percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) AS value
FROM (
    SELECT extract(epoch FROM at - lag(at) OVER (PARTITION BY actor ORDER BY at))::double precision AS seconds
    FROM migration.audit_log
    WHERE at > %(since)s AND at <= %(until)s
      AND action = ANY (%(actions)s)
) AS decided
WHERE seconds < 600

-- name: gate_slow_requests
-- Answered requests of an operation in a window, and those that took longer than the limit (the buckets after the one that
-- ends there). Uses the primary key of the measurements.
SELECT coalesce(sum(counts.answered), 0)::bigint AS sample, coalesce(sum(counts.slow), 0)::bigint AS hits
FROM migration.service_measurement AS measured
CROSS JOIN LATERAL (
    SELECT sum(bucket.requests) AS answered, sum(bucket.requests) FILTER (WHERE bucket.number > %(within)s) AS slow
    FROM unnest(measured.buckets) WITH ORDINALITY AS bucket (requests, number)
) AS counts
WHERE measured.at > %(since)s AND measured.at <= %(until)s AND measured.operation = %(operation)s

-- name: gate_straggler_lag
-- Rows above the backfill's bound without a proposal and not in quarantine, and the age of the oldest. Primary keys.
SELECT count(*) AS rows,
       coalesce(extract(epoch FROM %(until)s - min(coalesce(source.created_at, %(since)s))), 0)::double precision AS seconds
FROM (
    SELECT 'topic' AS entity, topic.id, topic.created_at FROM public.topics AS topic
    WHERE topic.id > %(topics_above)s AND topic.migrated_from_proposal_id IS NULL
    UNION ALL
    SELECT 'atom', atom.id, atom.created_at FROM public.atoms AS atom
    WHERE atom.id > %(atoms_above)s AND atom.migrated_from_proposal_id IS NULL
) AS source
LEFT JOIN migration.quarantine AS held ON held.entity = source.entity AND held.row_id = source.id
WHERE held.row_id IS NULL
