-- Atoms spread evenly over all that are there, with their titles; drawn as endpoint_draw_topics.sql does it.
-- One pass over the primary key and one look-up for each that is drawn, ACCESS SHARE.
SELECT atoms.id, atoms.title
FROM (
    SELECT id, row_number() OVER (ORDER BY id) - 1 AS place, count(*) OVER () AS total
    FROM public.atoms
) AS numbered
JOIN public.atoms ON atoms.id = numbered.id
WHERE (place + 1) * %(samples)s / total > place * %(samples)s / total
ORDER BY atoms.id
