-- Links that lead from an atom to itself. One scan of atom_links, ACCESS SHARE: reads and writes go on.
SELECT from_atom_id, to_atom_id, left(link_type, 40) AS link_type FROM public.atom_links WHERE from_atom_id = to_atom_id
