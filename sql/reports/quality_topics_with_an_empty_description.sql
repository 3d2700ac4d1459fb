-- Topics whose description holds nothing but white space. One scan of topics, ACCESS SHARE: reads and writes go on.
SELECT id, left(name, 100) AS name FROM public.topics WHERE description !~ '\S'
