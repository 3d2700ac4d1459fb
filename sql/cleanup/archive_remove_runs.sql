-- Removes runs that were copied in this transaction; the reference of proposals refuses one that has any left.
DELETE FROM public.knowledge_extraction_runs WHERE id = ANY (%(runs)s)
