-- Topics spread evenly over all that are there, at most `samples` of them and always the same ones of the same rows: row
-- p of n (counted from 0) is drawn where p * samples / n steps up. One pass over the primary key, ACCESS SHARE.
SELECT id
FROM (
    SELECT id, row_number() OVER (ORDER BY id) - 1 AS place, count(*) OVER () AS total
    FROM public.topics
) AS numbered
WHERE (place + 1) * %(samples)s / total > place * %(samples)s / total
ORDER BY id
