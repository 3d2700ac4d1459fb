-- Takes a run out of the archive that was put back in this transaction.
DELETE FROM public.knowledge_extraction_archive WHERE id = %(run)s
