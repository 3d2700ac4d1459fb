-- The topics that the probe's extraction made; one that a user refers to by now stops this.
DELETE FROM public.topics WHERE id = ANY (%(topic_ids)s)
