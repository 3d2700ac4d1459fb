-- The atoms that the probe's extraction made.
DELETE FROM public.atoms WHERE id = ANY (%(atom_ids)s)
