-- GET /api/v1/atoms: one page of 50, from the atom drawn. Range scan of the primary key, ACCESS SHARE.
SELECT id, type, title, content, confidence, user_approved, meta, created_at, updated_at
FROM public.atoms
WHERE id >= %(id)s
ORDER BY id
LIMIT 50
