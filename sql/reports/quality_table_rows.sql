-- How many rows each table has that findings are counted against. ACCESS SHARE on the five tables: reads and writes go
-- on. Exact on purpose (the planner's estimate may be from before the last load); index-only scans where vacuum allows.
SELECT
    (SELECT count(*) FROM public.topics) AS topics,
    (SELECT count(*) FROM public.atoms) AS atoms,
    (SELECT count(*) FROM public.topic_atoms) AS topic_atoms,
    (SELECT count(*) FROM public.atom_links) AS atom_links,
    (SELECT count(*) FROM public.messages) AS messages
