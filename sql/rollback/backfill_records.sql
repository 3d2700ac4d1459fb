-- Removes the run and the ledger of a backfill whose proposals are gone. Decisions on quarantined rows stay for the next
-- try: what had been resolved under a policy is to be tried again under it.
WITH emptied AS (
    DELETE FROM migration.backfill_batch WHERE extraction_run_id = %(run)s
), again AS (
    UPDATE migration.quarantine SET state = 'retry' WHERE state = 'resolved'
)
DELETE FROM public.knowledge_extraction_runs WHERE id = %(run)s
