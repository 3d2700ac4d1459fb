-- The relations of one atom of ours, made with it.
DELETE FROM public.topic_atoms WHERE atom_id = %(id)s
