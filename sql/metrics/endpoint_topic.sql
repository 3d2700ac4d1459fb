-- GET /api/v1/topics/:id: one topic, by its primary key. ACCESS SHARE.
SELECT id, name, description, icon, color, created_at, updated_at FROM public.topics WHERE id = %(id)s
