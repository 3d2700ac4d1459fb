-- The application's search for the atoms that an extraction links to (link_atoms): all of exactly that title.
-- Index ix_atoms_title, ACCESS SHARE.
SELECT id, type, title, content, confidence, user_approved, meta, created_at, updated_at
FROM public.atoms
WHERE title = %(title)s
ORDER BY id
