-- JSON nulls that the archive has marked.
UPDATE public.atom_proposals SET meta = 'null'
WHERE id IN (
    SELECT (given.proposal ->> 'id')::uuid
    FROM public.knowledge_extraction_archive AS archive
    CROSS JOIN LATERAL jsonb_array_elements(archive.atom_proposals) AS given (proposal)
    WHERE archive.id = %(run)s AND (given.proposal ->> 'meta_is_json_null')::boolean
)
