-- Messages of the clone to extract from, the next ones each time. Uses the primary key.
SELECT id, author_id FROM public.messages ORDER BY id OFFSET %(skipped)s LIMIT %(rows)s
