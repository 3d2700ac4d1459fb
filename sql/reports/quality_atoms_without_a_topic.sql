-- Atoms that belong to no topic. topic_atoms has no index that begins with atom_id before phase 1, so that this is a hash
-- anti join over one scan of each table. ACCESS SHARE on atoms and topic_atoms: reads and writes go on.
SELECT atoms.id, left(atoms.title, 100) AS title
FROM public.atoms
WHERE NOT EXISTS (SELECT FROM public.topic_atoms WHERE topic_atoms.atom_id = atoms.id)
