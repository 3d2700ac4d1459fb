-- name: audit_entries
-- Entries of the audit log older than a key, newest first; decisions about single proposals only if wanted. By the primary key,
-- through so many entries at most: a way back may have written thousands of decisions on top of what somebody looks for.
SELECT
    entry.id, entry.at, entry.actor, entry.action, entry.subject, entry.reason, entry.before, entry.after, entry.dagster_run_id
FROM (
    SELECT one.* FROM migration.audit_log AS one
    WHERE one.id < coalesce(%(older_than)s::bigint, 9223372036854775807)
    ORDER BY one.id DESC
    LIMIT %(looked_through)s
) AS entry
WHERE %(with_decisions)s OR entry.action <> ALL (%(decisions)s)
ORDER BY entry.id DESC
LIMIT %(limit)s

-- name: audit_looked_through
-- The last entry that audit_entries.sql looks through; none where it comes to the end of the log. By the primary key.
SELECT one.id FROM migration.audit_log AS one
WHERE one.id < coalesce(%(older_than)s::bigint, 9223372036854775807)
ORDER BY one.id DESC
OFFSET %(looked_through)s - 1
LIMIT 1

-- name: audit_mark
-- What tells whether entries were added to the audit log, also late ones of a transaction that was open for some time: the sum
-- of its newest keys. By the primary key.
SELECT coalesce(sum(newest.id), 0)::bigint AS mark
FROM (SELECT one.id FROM migration.audit_log AS one ORDER BY one.id DESC LIMIT 200) AS newest

-- name: checks
-- The latest evaluation of each asset check, from Dagster's own tables: whether it passed, how severe it is, what it said. A check
-- that was planned only, or broke off, has not passed. Looks at the newest executions only, so it stays as fast as they grow.
SELECT
    replace(trim(BOTH '[]"' FROM found.asset_key), '", "', '/') AS asset, found.check_name AS name, found.execution_status AS status,
    coalesce(found.evaluation_event_timestamp, found.create_timestamp) AT TIME ZONE 'UTC' AS at,
    found.evaluation_event::jsonb #>> ARRAY['dagster_event', 'event_specific_data', 'severity', '__enum__'] AS severity,
    found.evaluation_event::jsonb #>> ARRAY['dagster_event', 'event_specific_data', 'description'] AS words
FROM asset_check_executions AS found
WHERE found.id IN (
    SELECT max(newest.id) FROM (
        SELECT one.id, one.asset_key, one.check_name FROM asset_check_executions AS one ORDER BY one.id DESC LIMIT 20000
    ) AS newest
    GROUP BY newest.asset_key, newest.check_name
)
ORDER BY asset, name

-- name: control
-- What an operator has set for the backfill, who and when; NULL: as the settings say. One row.
SELECT paused, batch_size, rate_limit_per_second, changed_at, changed_by FROM migration.backfill_control

-- name: linked_rows
-- Rows with their proposal, and rows that still need one (accepted quarantine does not). One scan.
SELECT
    count(*) FILTER (WHERE source.migrated_from_proposal_id IS NOT NULL) AS linked,
    count(*) FILTER (WHERE source.migrated_from_proposal_id IS NULL AND held.state IS DISTINCT FROM 'accepted') AS unlinked
FROM {table} AS source
LEFT JOIN migration.quarantine AS held ON held.entity = %(entity)s AND held.row_id = source.id

-- name: pace
-- Rows that the backfill linked in the last minute, and over how many seconds; from the newest batches only.
SELECT
    coalesce(sum(newest.linked_rows), 0)::bigint AS linked,
    extract(epoch FROM clock_timestamp() - min(newest.committed_at)) AS seconds
FROM (SELECT batch.linked_rows, batch.committed_at FROM migration.backfill_batch AS batch ORDER BY batch.id DESC LIMIT 5000) AS newest
WHERE newest.committed_at > clock_timestamp() - interval '60 seconds'

-- name: queue
-- Proposals that wait for review, and since when the oldest does. Through the indexes on status.
SELECT count(*) AS pending, min(proposal.created_at) AS oldest FROM {proposals} AS proposal WHERE proposal.status = 'pending'

-- name: table_estimated
-- About how many rows of a table have their proposal and how many do not: the planner's count of rows, and the ledger's of what
-- the backfill linked; what dual write links of itself is left out, so this never claims too much.
SELECT least(ledger.linked, about.rows) AS linked, greatest(about.rows - ledger.linked, 0) AS unlinked
FROM (
    SELECT greatest(class.reltuples, 0)::bigint AS rows FROM pg_class AS class WHERE class.oid = %(table)s::regclass
) AS about
CROSS JOIN (
    SELECT coalesce(sum(batch.linked_rows), 0)::bigint AS linked
    FROM migration.backfill_batch AS batch WHERE batch.entity = %(entity)s
) AS ledger

-- name: table_exact
-- Rows with their proposal and without it, counted. One scan; the caller bounds its time.
SELECT
    count(*) FILTER (WHERE source.migrated_from_proposal_id IS NOT NULL) AS linked,
    count(*) FILTER (WHERE source.migrated_from_proposal_id IS NULL) AS unlinked
FROM {table} AS source
