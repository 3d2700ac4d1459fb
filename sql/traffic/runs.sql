-- Which of these runs exist and are completed. Uses the primary key.
SELECT id FROM public.knowledge_extraction_runs WHERE id = ANY (%(ids)s) AND status = 'completed'
