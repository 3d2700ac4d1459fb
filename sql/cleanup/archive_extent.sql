-- How much the archive holds.
SELECT count(*) AS runs, coalesce(sum(jsonb_array_length(topic_proposals)), 0)::bigint AS topic_proposals,
       coalesce(sum(jsonb_array_length(atom_proposals)), 0)::bigint AS atom_proposals,
       min(archived_at) AS first_archived_at, max(archived_at) AS last_archived_at
FROM public.knowledge_extraction_archive
