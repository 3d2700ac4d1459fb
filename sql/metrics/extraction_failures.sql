-- Extractions of the last hour, and how many of them failed. Uses the index on created_at; the backfill's run is none.
SELECT count(*) AS sample, count(*) FILTER (WHERE status = 'failed') AS failed
FROM public.knowledge_extraction_runs
WHERE created_at > %(since)s AND settings ->> 'mode' IS DISTINCT FROM 'backfill' AND status IN ('completed', 'failed')
