-- Which of these exist. Uses the primary key.
SELECT id FROM public.atom_proposals WHERE id = ANY (%(ids)s)
