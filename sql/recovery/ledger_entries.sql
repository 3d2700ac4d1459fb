-- The entries of the ledger, each with its transaction and whether that is its own: no two batches, nor a batch and the
-- migration's run, were written by one. Part of the statements that rebuild the ledger.
SELECT entry.*, entry.xmin AS version,
       count(*) OVER (PARTITION BY entry.xmin::text) > 1
           OR entry.xmin IN (SELECT run.xmin FROM public.knowledge_extraction_runs AS run WHERE run.id = %(run)s)
           AS shares_transaction
FROM migration.backfill_batch AS entry
