-- Links between the probe's own atoms.
DELETE FROM public.atom_links WHERE from_atom_id = ANY (%(atom_ids)s) AND to_atom_id = ANY (%(atom_ids)s)
