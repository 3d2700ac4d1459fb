-- name: messages
-- The next messages of the clone to extract from. Uses the primary key.
SELECT id, author_id FROM public.messages ORDER BY id OFFSET %(skipped)s LIMIT %(rows)s

-- name: park
-- Parks, on a clone, the pending proposals of proposal mode, so that a rollback has nothing to replay.
UPDATE {proposals} AS proposal SET status = 'parked'
FROM public.knowledge_extraction_runs AS run
WHERE run.id = proposal.extraction_run_id AND proposal.status = 'pending' AND run.settings ->> 'mode' = 'proposal'
RETURNING proposal.id

-- name: unpark
-- Makes, on a clone, parked proposals pending again.
UPDATE {proposals} SET status = 'pending' WHERE id = ANY (%(ids)s) AND status = 'parked'
