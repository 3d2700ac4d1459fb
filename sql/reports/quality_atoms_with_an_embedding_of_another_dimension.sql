-- Atoms whose embedding is not comparable with the others; possible only where the user's column fixes no dimension.
-- One scan of atoms that reads the embeddings (6 KB each), ACCESS SHARE: reads and writes go on.
SELECT id, vector_dims(embedding) AS dimensions, left(title, 100) AS title
FROM public.atoms
WHERE vector_dims(embedding) <> %(embedding_dimensions)s
