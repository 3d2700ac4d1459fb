-- Which of these runs are in the archive, and which proposals are there with them. Uses the primary key.
SELECT id FROM public.knowledge_extraction_archive WHERE id = ANY (%(ids)s)
UNION ALL
SELECT (proposal.value ->> 'id')::uuid
FROM public.knowledge_extraction_archive AS archive
CROSS JOIN LATERAL jsonb_array_elements(archive.topic_proposals || archive.atom_proposals) AS proposal
WHERE archive.id = ANY (%(ids)s)
