-- How far the backfill of one table is: rows with their proposal, rows that wait for it, rows set aside by their state, and
-- how many ranges of the plan have a row that waits. Two scans of the table, however many ranges there are. Locks nothing.
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
