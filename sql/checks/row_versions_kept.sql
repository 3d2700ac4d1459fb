-- Whether row versions (xmin) still say which transaction wrote a row. No two batches of the ledger and the migration's run
-- were written by one transaction, and a batch marks its proposals, as any transaction marks the pair it links: a dump and
-- restore breaks the one or the other. Pairs are asked first, for the first row answers; and proposals are counted, for
-- EXISTS takes a nested loop, which took 22 s for 300,000 proposals and 3,000 entries where none matched.
SELECT (
    SELECT count(*) = count(DISTINCT written.version)
    FROM (
        SELECT ledger.xmin::text AS version FROM migration.backfill_batch AS ledger
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
