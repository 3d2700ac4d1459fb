-- Relations of the probe's own atoms.
DELETE FROM public.topic_atoms WHERE atom_id = ANY (%(atom_ids)s)
