-- Atoms that state no confidence. One scan of atoms, ACCESS SHARE: reads and writes go on.
SELECT id, left(title, 100) AS title FROM public.atoms WHERE confidence IS NULL
