-- Sets each sequence beyond the largest id that was copied in.
SELECT
    setval(pg_get_serial_sequence('public.users', 'id'), coalesce(max(users.id), 0) + 1, false),
    (SELECT setval(pg_get_serial_sequence('public.sources', 'id'), coalesce(max(id), 0) + 1, false) FROM public.sources),
    (SELECT setval(pg_get_serial_sequence('public.topics', 'id'), coalesce(max(id), 0) + 1, false) FROM public.topics),
    (SELECT setval(pg_get_serial_sequence('public.messages', 'id'), coalesce(max(id), 0) + 1, false) FROM public.messages),
    (SELECT setval(pg_get_serial_sequence('public.atoms', 'id'), coalesce(max(id), 0) + 1, false) FROM public.atoms)
FROM public.users
