-- Atoms whose type is none that the application knows. One scan of atoms, ACCESS SHARE: reads and writes go on.
SELECT id, left(type, 40) AS type, left(title, 100) AS title FROM public.atoms WHERE type <> ALL (%(atom_types)s)
