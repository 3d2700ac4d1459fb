-- Atoms that belong to no topic. A hash anti join over one scan of each table; reads only.
-- The batch is what Great Expectations puts in: the table under validation.
SELECT id, left(title, 100) AS title
FROM (SELECT * FROM {batch}) AS atoms
WHERE NOT EXISTS (SELECT 1 FROM public.topic_atoms WHERE topic_atoms.atom_id = atoms.id)
