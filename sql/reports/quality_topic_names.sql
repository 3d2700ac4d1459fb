-- The names that are compared for near duplicates; the comparing happens in Python (engine/preparation/near_duplicates.py), so that
-- the server needs no pg_trgm. One scan of topics, ACCESS SHARE: reads and writes go on.
SELECT id, name FROM public.topics WHERE name IS NOT NULL ORDER BY id
