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
    judged.id, judged.partition_key, judged.extraction_run_id, judged.after_id, judged.through_id, judged.linked_rows,
    judged.quarantined_rows, judged.seconds, judged.committed_at, judged.dagster_run_id, judged.shares_transaction,
    twin.id AS doubles
FROM judged
LEFT JOIN LATERAL (
    SELECT min(other.id) AS id
    FROM judged AS other
    WHERE (other.after_id, other.through_id, other.committed_at) = (judged.after_id, judged.through_id, judged.committed_at)
      AND other.id <> judged.id
      AND (other.intact OR other.id < judged.id)
) AS twin ON true
WHERE NOT judged.intact
ORDER BY judged.id
