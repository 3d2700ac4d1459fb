-- How many proposals these runs have. By index, locks nothing.
SELECT (SELECT count(*) FROM public.topic_proposals WHERE extraction_run_id = ANY (%(runs)s)) AS topic_proposals,
       (SELECT count(*) FROM public.atom_proposals WHERE extraction_run_id = ANY (%(runs)s)) AS atom_proposals
