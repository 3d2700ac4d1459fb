-- Which of these exist. Uses the primary key.
SELECT id FROM public.topics WHERE id = ANY (%(ids)s)
