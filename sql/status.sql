-- name: audit_entries
-- Entries of the audit log older than a key, newest first; changes of single rows only on request. By the primary key,
-- over a bounded number of entries: a rollback may have written thousands of decisions after the entry that somebody needs.
SELECT
    entry.id, entry.at, entry.actor, entry.action, entry.subject, entry.reason, entry.before, entry.after, entry.dagster_run_id
FROM (
    SELECT one.* FROM migration.audit_log AS one
    WHERE one.id < coalesce(%(older_than)s::bigint, 9223372036854775807)
    ORDER BY one.id DESC
    LIMIT %(examined)s
) AS entry
WHERE %(with_decisions)s OR entry.action <> ALL (%(decisions)s)
ORDER BY entry.id DESC
LIMIT %(limit)s

-- name: audit_last_examined
-- The last entry that audit_entries examines; none at the end of the log. By the primary key.
SELECT one.id FROM migration.audit_log AS one
WHERE one.id < coalesce(%(older_than)s::bigint, 9223372036854775807)
ORDER BY one.id DESC
OFFSET %(examined)s - 1
LIMIT 1

-- name: audit_mark
-- A number that changes with every new entry of the audit log, also with a late one of a long transaction: a hash of its
-- newest keys. By the primary key.
SELECT coalesce(hashtextextended(string_agg(newest.id::text, ',' ORDER BY newest.id), 0), 0) AS mark
FROM (SELECT one.id FROM migration.audit_log AS one ORDER BY one.id DESC LIMIT 200) AS newest

-- name: backfill_progress
-- The progress of one table: rows with a proposal, rows without, quarantined rows by state, and how many ranges of the plan
-- have a row that waits. Two scans of the table, however many ranges there are. Locks nothing.
WITH rows AS MATERIALIZED (
    SELECT source.id, held.state
    FROM {table} AS source
    LEFT JOIN migration.quarantine AS held ON held.entity = %(entity)s AND held.row_id = source.id
    WHERE source.migrated_from_proposal_id IS NULL
), waiting AS (
    SELECT width_bucket(rows.id, %(starts)s::bigint[]) AS range
    FROM rows
    WHERE coalesce(rows.state, 'retry') NOT IN ('open', 'accepted') AND rows.id <= %(through)s
)
SELECT
    (SELECT count(*) FROM {table} AS source WHERE source.migrated_from_proposal_id IS NOT NULL) AS linked,
    count(*) AS unlinked,
    count(*) FILTER (WHERE rows.state = 'open') AS quarantine_open,
    count(*) FILTER (WHERE rows.state = 'retry') AS quarantine_retry,
    count(*) FILTER (WHERE rows.state = 'accepted') AS quarantine_accepted,
    (SELECT count(DISTINCT waiting.range) FROM waiting WHERE waiting.range > 0) AS ranges_waiting
FROM rows

-- name: control
-- The operator's controls of the backfill, who set them and when; NULL: the setting applies. One row.
SELECT paused, batch_size, rate_limit_per_second, changed_at, changed_by FROM migration.backfill_control

-- name: ledger_totals
-- Rows that the backfill linked, and when it committed its last batch, for each table with a batch.
SELECT batch.entity, sum(batch.linked_rows)::bigint AS linked, max(batch.committed_at) AS last_batch_at
FROM migration.backfill_batch AS batch GROUP BY batch.entity

-- name: linked_rows
-- Rows with a proposal, rows that need one, and rows accepted without one. One scan; the caller bounds its time.
SELECT
    count(*) FILTER (WHERE source.migrated_from_proposal_id IS NOT NULL) AS linked,
    count(*) FILTER (WHERE source.migrated_from_proposal_id IS NULL AND held.state IS DISTINCT FROM 'accepted') AS unlinked,
    count(*) FILTER (WHERE source.migrated_from_proposal_id IS NULL AND held.state = 'accepted') AS accepted
FROM {table} AS source
LEFT JOIN migration.quarantine AS held ON held.entity = %(entity)s AND held.row_id = source.id

-- name: linked_rows_estimated
-- The same, estimated: the planner's count of rows, and the ledger's count of rows that the backfill linked. Rows that dual write
-- linked are not counted, so the estimate of linked rows is never too high.
SELECT least(ledger.linked, estimate.rows) AS linked, greatest(estimate.rows - ledger.linked, 0) AS unlinked, 0::bigint AS accepted
FROM (
    SELECT greatest(class.reltuples, 0)::bigint AS rows FROM pg_class AS class WHERE class.oid = %(table)s::regclass
) AS estimate
CROSS JOIN (
    SELECT coalesce(sum(batch.linked_rows), 0)::bigint AS linked
    FROM migration.backfill_batch AS batch WHERE batch.entity = %(entity)s
) AS ledger

-- name: may_read_users
-- Whether this role may read the names of the application's users. Locks nothing.
SELECT count(*) = 3 AS allowed
FROM pg_attribute AS attribute
WHERE attribute.attrelid = to_regclass('public.users') AND attribute.attname IN ('id', 'first_name', 'last_name')
  AND has_column_privilege(attribute.attrelid, attribute.attnum, 'SELECT')

-- name: names_of_users
-- The names of some users of the application. By the primary key.
SELECT users.id, concat_ws(' ', users.first_name, users.last_name) AS name
FROM public.users
WHERE users.id = ANY (%(ids)s)

-- name: pace
-- Rows that the backfill linked in the last minute, and over how many seconds; from the newest batches only.
SELECT
    coalesce(sum(newest.linked_rows), 0)::bigint AS linked,
    extract(epoch FROM clock_timestamp() - min(newest.committed_at)) AS seconds
FROM (SELECT batch.linked_rows, batch.committed_at FROM migration.backfill_batch AS batch ORDER BY batch.id DESC LIMIT 5000) AS newest
WHERE newest.committed_at > clock_timestamp() - interval '60 seconds'

-- name: quarantine_totals
-- Quarantined rows by table and state.
SELECT held.entity, held.state, count(*) AS rows FROM migration.quarantine AS held GROUP BY held.entity, held.state

-- name: queue
-- Pending proposals, and when the oldest was created. Through the indexes on status.
SELECT count(*) AS pending, min(proposal.created_at) AS oldest FROM {proposals} AS proposal WHERE proposal.status = 'pending'

-- name: row_estimates
-- The planner's count of rows of both tables; an exact count would read the whole tables.
SELECT named.entity, greatest(class.reltuples, 0)::bigint AS rows
FROM (VALUES ('topic', to_regclass('public.topics')), ('atom', to_regclass('public.atoms'))) AS named (entity, oid)
JOIN pg_class AS class ON class.oid = named.oid

-- name: runners
-- The sessions that work on the backfill of this database now: they hold its advisory lock, a runner shared, a rollback
-- exclusively. The lock belongs to the session, so a killed process is not among them. Reads pg_locks and pg_stat_activity.
SELECT activity.pid, activity.application_name AS application, activity.backend_start AS since, held.mode = 'ShareLock' AS shared
FROM pg_locks AS held
JOIN pg_stat_activity AS activity ON activity.pid = held.pid
WHERE held.locktype = 'advisory'
  AND held.granted
  AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND held.objsubid = 1 AND ((held.classid::bigint << 32) | held.objid::bigint) = hashtextextended('knowledge_migration:' || %(work)s, 0)
ORDER BY activity.backend_start, activity.pid

-- name: speed
-- The last changes of the backfill's speed, oldest first. Primary key.
SELECT newest.at, newest.level, newest.signal, newest.grade, newest.reason, newest.rows_per_second, newest.read_at
FROM (SELECT speed.* FROM migration.backfill_speed AS speed ORDER BY speed.id DESC LIMIT 60) AS newest
ORDER BY newest.id

-- name: trend_backfill
-- Rows that the backfill linked, by minute; from the newest batches only, by the primary key.
SELECT date_trunc('minute', newest.committed_at) AS at, sum(newest.linked_rows)::bigint AS rows
FROM (SELECT batch.linked_rows, batch.committed_at FROM migration.backfill_batch AS batch ORDER BY batch.id DESC LIMIT 20000) AS newest
WHERE newest.committed_at > %(since)s
GROUP BY 1
ORDER BY 1

-- name: trend_extractions
-- Answered extractions by minute, and by bucket of their time. Uses the primary key of the measurements.
SELECT counted.at, array_agg(counted.requests ORDER BY counted.number) AS buckets
FROM (
    SELECT date_trunc('minute', measured.at) AS at, bucket.number, sum(bucket.requests)::bigint AS requests
    FROM migration.service_measurement AS measured
    CROSS JOIN LATERAL unnest(measured.buckets) WITH ORDINALITY AS bucket (requests, number)
    WHERE measured.at > %(since)s AND measured.operation = 'extraction'
    GROUP BY 1, 2
) AS counted
GROUP BY counted.at
ORDER BY counted.at

-- name: trend_queue
-- The length of the review queue whenever its gate was evaluated; from the newest verdicts only, by the primary key.
SELECT newest.at, newest.value
FROM (
    SELECT judged.at, judged.metric, judged.value, judged.database
    FROM migration.gate_evaluation AS judged
    ORDER BY judged.id DESC
    LIMIT 20000
) AS newest
WHERE newest.at > %(since)s AND newest.metric = 'queue_depth' AND newest.value IS NOT NULL
  AND newest.database = migration.this_database()
ORDER BY newest.at

-- name: trend_requests
-- Requests by minute and how many failed: of users, and of extractions in the service. Uses the primary key of the measurements.
SELECT date_trunc('minute', measured.at) AS at, measured.operation = 'extraction' AS extraction,
       sum(measured.requests - measured.refused)::bigint AS sample, sum(measured.errors)::bigint AS hits
FROM migration.service_measurement AS measured
WHERE measured.at > %(since)s AND measured.operation <> 'pool'
GROUP BY 1, 2
ORDER BY 1
