-- GET /api/v1/topics/:id/atoms: primary key of topic_atoms (it begins with topic_id), then that of atoms. ACCESS SHARE.
SELECT
    atoms.id, atoms.type, atoms.title, atoms.content, atoms.confidence, atoms.user_approved, atoms.meta,
    atoms.created_at, atoms.updated_at, topic_atoms.position, topic_atoms.note
FROM public.topic_atoms
JOIN public.atoms ON atoms.id = topic_atoms.atom_id
WHERE topic_atoms.topic_id = %(id)s
ORDER BY topic_atoms.position, atoms.id
