-- Links whose type is none that the application knows. One scan of atom_links, ACCESS SHARE: reads and writes go on.
SELECT from_atom_id, to_atom_id, left(link_type, 40) AS link_type
FROM public.atom_links
WHERE link_type <> ALL (%(link_types)s)
