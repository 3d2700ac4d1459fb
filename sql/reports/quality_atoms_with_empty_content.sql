-- Atoms whose content holds nothing but white space. One scan of atoms, ACCESS SHARE: reads and writes go on.
SELECT id, left(title, 100) AS title FROM public.atoms WHERE content !~ '\S'
