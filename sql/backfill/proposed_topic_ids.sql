-- The topics of an atom as its proposal names them: their ids as numbers, in order. Relies on idx_topic_atoms_atom.
(
    SELECT coalesce(jsonb_agg(related.topic_id ORDER BY related.topic_id), '[]'::jsonb)
    FROM public.topic_atoms AS related
    WHERE related.atom_id = source.id
)
