-- Atoms that similarity search cannot see. One scan of atoms that does not read the embeddings, ACCESS SHARE: reads and
-- writes go on.
SELECT id, left(title, 100) AS title FROM public.atoms WHERE embedding IS NULL
