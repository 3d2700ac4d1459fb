-- Links of which one end does not exist; a valid foreign key prevents it.
-- Hash joins over the primary key of atoms, ACCESS SHARE on both tables: reads and writes go on.
SELECT
    atom_links.from_atom_id,
    atom_links.to_atom_id,
    concat_ws(', ', CASE WHEN origin.id IS NULL THEN 'from' END, CASE WHEN target.id IS NULL THEN 'to' END) AS missing
FROM public.atom_links
LEFT JOIN public.atoms AS origin ON origin.id = atom_links.from_atom_id
LEFT JOIN public.atoms AS target ON target.id = atom_links.to_atom_id
WHERE origin.id IS NULL OR target.id IS NULL
