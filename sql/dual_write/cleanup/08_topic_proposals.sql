-- The proposals of the probe's run.
DELETE FROM public.topic_proposals WHERE extraction_run_id = ANY (%(run_ids)s)
