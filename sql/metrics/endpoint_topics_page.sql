-- GET /api/v1/topics: one page of 50, from the topic drawn. Range scan of the primary key, ACCESS SHARE.
SELECT id, name, description, icon, color, created_at, updated_at
FROM public.topics
WHERE id >= %(id)s
ORDER BY id
LIMIT 50
