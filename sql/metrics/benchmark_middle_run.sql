-- A run with proposals, for the list of one run's proposals. ACCESS SHARE, one row of an index.
SELECT extraction_run_id AS id FROM public.topic_proposals ORDER BY created_at DESC, id LIMIT 1
