-- Puts a run back as it was, without leaving the database: no number loses a digit. A user who is gone since is forgotten, as
-- their deletion would have done.
INSERT INTO public.knowledge_extraction_runs
SELECT (
    jsonb_populate_record(
        NULL::public.knowledge_extraction_runs,
        CASE
            WHEN EXISTS (SELECT FROM public.users WHERE id = (archive.run ->> 'created_by_user_id')::bigint)
                THEN archive.run
            ELSE archive.run - 'created_by_user_id'
        END
    )
).*
FROM public.knowledge_extraction_archive AS archive
WHERE archive.id = %(run)s
