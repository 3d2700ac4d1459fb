-- Proposals that wait for review. Uses the indexes on status.
SELECT (SELECT count(*) FROM public.topic_proposals WHERE status = 'pending')
       + (SELECT count(*) FROM public.atom_proposals WHERE status = 'pending') AS hits
