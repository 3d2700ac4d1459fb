-- Topics and atoms of these ids that the probe's extraction made: created since it began. What existed before is not its own.
SELECT 'topic' AS entity, id FROM public.topics WHERE id = ANY (%(topic_ids)s) AND created_at >= %(since)s
UNION ALL
SELECT 'atom', id FROM public.atoms WHERE id = ANY (%(atom_ids)s) AND created_at >= %(since)s
