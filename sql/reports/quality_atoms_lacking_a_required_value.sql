-- Atoms with NULL in a column that the proposal requires; possible only where the user's column is nullable.
-- One scan of atoms, ACCESS SHARE: reads and writes go on.
SELECT
    id,
    concat_ws(
        ', ',
        CASE WHEN type IS NULL THEN 'type' END,
        CASE WHEN title IS NULL THEN 'title' END,
        CASE WHEN content IS NULL THEN 'content' END
    ) AS lacking
FROM public.atoms
WHERE type IS NULL OR title IS NULL OR content IS NULL
