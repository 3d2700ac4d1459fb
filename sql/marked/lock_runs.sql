-- Locks the extractions of our messages; a reviewer of their proposals locks the run first, too, and waits.
SELECT id FROM public.knowledge_extraction_runs WHERE id = ANY (%(run_ids)s) ORDER BY id FOR UPDATE
