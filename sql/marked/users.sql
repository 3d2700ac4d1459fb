-- Some users, for one whose extractions are proposals.
SELECT id FROM public.users ORDER BY id LIMIT 10000
