-- Topics with NULL in a column that the proposal requires; possible only where the user's column is nullable.
-- One scan of topics, ACCESS SHARE: reads and writes go on.
SELECT
    id,
    concat_ws(', ', CASE WHEN name IS NULL THEN 'name' END, CASE WHEN description IS NULL THEN 'description' END) AS lacking
FROM public.topics
WHERE name IS NULL OR description IS NULL
