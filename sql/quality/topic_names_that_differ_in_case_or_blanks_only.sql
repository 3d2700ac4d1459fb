-- Topics whose name is another one's but for case or white space. One scan and a sort; reads only.
-- The batch is what Great Expectations puts in: the table under validation.
SELECT id, name
FROM (
    SELECT id, name, count(*) OVER (PARTITION BY lower(btrim(regexp_replace(name, '\s+', ' ', 'g')))) AS alike
    FROM (SELECT * FROM {batch}) AS topics
) AS grouped
WHERE alike > 1
