-- The one extraction run of the whole migration: its id is fixed, so a second start finds it and goes on with it.
INSERT INTO public.knowledge_extraction_runs (id, status, message_ids, message_count, settings, started_at)
VALUES (
    migration.origin_proposal_id('knowledge_extraction_runs', 0), 'running', '[]', 0,
    jsonb_build_object('migration', true, 'mode', 'backfill', 'backfill_timestamp', now()), now()
)
ON CONFLICT (id) DO UPDATE SET status = 'running', completed_at = NULL, error_message = NULL
WHERE knowledge_extraction_runs.status <> 'running' AND %(reopen)s
