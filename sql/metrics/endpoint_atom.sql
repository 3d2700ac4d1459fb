-- GET /api/v1/atoms/:id: one atom, by its primary key. ACCESS SHARE.
SELECT id, type, title, content, confidence, user_approved, meta, created_at, updated_at
FROM public.atoms
WHERE id = %(id)s
