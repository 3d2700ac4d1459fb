-- Entries of the ledger for one table that are not intact (see ledger_batches.sql); `doubles` names the entry that says the same.
WITH written AS MATERIALIZED ({written}), versions AS (
    SELECT written.row_version AS version FROM written
    UNION
    SELECT written.proposal_version FROM written
), judged AS MATERIALIZED (
    SELECT ledger.*,
           ledger.extraction_run_id = %(run)s AND NOT ledger.shares_transaction
               AND ledger.version IN (SELECT versions.version FROM versions WHERE versions.version IS NOT NULL) AS intact
    FROM ({entries}) AS ledger
    WHERE ledger.entity = %(entity)s
)
SELECT
    twins.id, twins.partition_key, twins.extraction_run_id, twins.after_id, twins.through_id, twins.linked_rows,
    twins.quarantined_rows, twins.seconds, twins.committed_at, twins.dagster_run_id, twins.shares_transaction,
    coalesce(twins.first_intact_id, nullif(twins.first_id, twins.id)) AS doubles
FROM (
    SELECT judged.*, min(judged.id) OVER same AS first_id, min(judged.id) FILTER (WHERE judged.intact) OVER same AS first_intact_id
    FROM judged
    WINDOW same AS (PARTITION BY judged.after_id, judged.through_id, judged.committed_at)
) AS twins
WHERE NOT twins.intact
ORDER BY twins.id
