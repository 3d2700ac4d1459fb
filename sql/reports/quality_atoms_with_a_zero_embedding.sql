-- Atoms whose embedding has no direction: its cosine distance to anything is NaN, and no threshold finds it.
-- One scan of atoms that reads the embeddings (6 KB each), ACCESS SHARE: reads and writes go on.
SELECT id, left(title, 100) AS title FROM public.atoms WHERE vector_norm(embedding) = 0
