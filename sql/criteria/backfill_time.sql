-- What the backfill linked and set aside, how long its batches worked, and how long it took from its beginning to its end.
SELECT
    sum(ledger.linked_rows)::bigint AS linked, sum(ledger.quarantined_rows)::bigint AS quarantined,
    sum(ledger.seconds) AS working_seconds,
    (SELECT extract(epoch FROM run.completed_at - run.started_at) FROM public.knowledge_extraction_runs AS run
     WHERE run.id = migration.origin_proposal_id('knowledge_extraction_runs', 0)) AS elapsed_seconds
FROM migration.backfill_batch AS ledger
