-- Topics whose name is another one's but for case or white space; the unique index on name does not see them as equal.
-- One scan of topics and a sort, ACCESS SHARE: reads and writes go on.
SELECT id, name, first_id
FROM (
    SELECT
        id,
        name,
        min(id) OVER same AS first_id,
        count(*) OVER same AS alike
    FROM public.topics
    WHERE name IS NOT NULL
    WINDOW same AS (PARTITION BY lower(btrim(regexp_replace(name, '\s+', ' ', 'g'))))
) AS grouped
WHERE alike > 1
