-- Which of these runs are in the archive, with all their proposals. Uses the primary key.
SELECT id FROM public.knowledge_extraction_archive WHERE id = ANY (%(ids)s)
