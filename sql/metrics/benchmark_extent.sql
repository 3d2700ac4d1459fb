-- How many proposals there are, of both kinds: what a time is worth depends on it. Reads an index of each table whole,
-- once, ACCESS SHARE.
SELECT (SELECT count(*) FROM public.topic_proposals) + (SELECT count(*) FROM public.atom_proposals) AS proposals
