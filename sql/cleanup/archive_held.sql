-- Locks one archived run, so that it is brought back once; how many proposals it has.
SELECT jsonb_array_length(topic_proposals) AS topic_proposals, jsonb_array_length(atom_proposals) AS atom_proposals
FROM public.knowledge_extraction_archive
WHERE id = %(run)s
FOR UPDATE
