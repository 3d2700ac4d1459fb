-- The extractions of our own messages, and which of them still run. Uses idx_knowledge_runs_created.
SELECT run.id, run.status
FROM public.knowledge_extraction_runs AS run
WHERE run.created_at >= %(since)s - interval '1 minute' AND run.message_count > 0
  AND run.message_ids <@ to_jsonb(%(message_ids)s::bigint[])
ORDER BY run.created_at, run.id
