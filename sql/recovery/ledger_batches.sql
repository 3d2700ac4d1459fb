-- The batches of one table, as the rows tell them, that no intact entry of the ledger speaks of. An entry is intact when
-- the transaction that wrote it is its own, and the one that last wrote a row or a proposal of the batch: nobody has touched
-- it since. `marked_rows` are those whose row and proposal still show one transaction, `uncertain_rows` those of which only
-- the entry could have told whether they were written to since. Locks nothing.
WITH written AS MATERIALIZED ({written}), versions AS (
    SELECT written.moment, written.row_version AS version FROM written
    UNION
    SELECT written.moment, written.proposal_version FROM written
), intact AS (
    SELECT versions.moment
    FROM versions
    JOIN ({entries}) AS ledger ON ledger.version = versions.version
    WHERE ledger.entity = %(entity)s AND ledger.extraction_run_id = %(run)s AND NOT ledger.shares_transaction
)
SELECT
    written.moment, min(written.id) AS first_id, max(written.id) AS through_id, count(*) AS rows,
    count(*) - count(written.id) AS deleted_rows,
    count(*) FILTER (WHERE written.row_version = written.proposal_version) AS marked_rows,
    count(*) FILTER (WHERE written.row_version <> written.proposal_version AND NOT written.stamped) AS uncertain_rows
FROM written
WHERE NOT EXISTS (SELECT FROM intact WHERE intact.moment = written.moment)
GROUP BY written.moment
ORDER BY written.moment
