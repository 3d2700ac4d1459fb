-- The links between atoms of ours; one to somebody else's atom stays, and keeps the atom.
DELETE FROM public.atom_links WHERE from_atom_id = ANY (%(atom_ids)s) AND to_atom_id = ANY (%(atom_ids)s)
