-- Puts the proposals of a run back as they were, without leaving the database: no number loses a digit. Rows and users that
-- are gone since are forgotten, as their deletion would have done.
INSERT INTO {proposals}
SELECT (
    jsonb_populate_record(
        NULL::{proposals},
        given.proposal - CASE
            WHEN EXISTS (SELECT FROM {table} WHERE id = (given.proposal ->> {similar})::bigint) THEN '' ELSE {similar}
        END - CASE
            WHEN EXISTS (SELECT FROM public.users WHERE id = (given.proposal ->> 'reviewed_by_user_id')::bigint) THEN ''
            ELSE 'reviewed_by_user_id'
        END
    )
).*
FROM public.knowledge_extraction_archive AS archive
CROSS JOIN LATERAL jsonb_array_elements(archive.{archived}) AS given (proposal)
WHERE archive.id = %(run)s
