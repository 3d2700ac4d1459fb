-- The run of the probe's extraction, found by its message. Uses idx_knowledge_runs_created.
SELECT id FROM public.knowledge_extraction_runs
WHERE created_at >= %(since)s AND message_ids = to_jsonb(%(message_ids)s::bigint[])
