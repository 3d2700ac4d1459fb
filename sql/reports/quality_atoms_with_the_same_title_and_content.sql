-- Atoms that say word for word what another one says; first_id is the oldest of them by id.
-- One scan of atoms and a sort by title and content, ACCESS SHARE: reads and writes go on.
SELECT id, first_id, left(title, 100) AS title
FROM (
    SELECT
        id,
        title,
        min(id) OVER same AS first_id,
        count(*) OVER same AS alike
    FROM public.atoms
    WINDOW same AS (PARTITION BY title, content)
) AS grouped
WHERE alike > 1
