-- The probe's run.
DELETE FROM public.knowledge_extraction_runs WHERE id = ANY (%(run_ids)s)
