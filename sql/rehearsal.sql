-- name: bring_back
-- Lets, on a clone, proposals wait again that were set aside.
UPDATE {proposals} SET status = 'pending' WHERE id = ANY (%(ids)s) AND status = 'parked'

-- name: messages
-- Messages of the clone to extract from, the next ones each time. Uses the primary key.
SELECT id, author_id FROM public.messages ORDER BY id OFFSET %(skipped)s LIMIT %(rows)s

-- name: set_aside
-- Parks, on a clone, what proposal mode has left waiting, so that a way back has nothing to replay.
UPDATE {proposals} AS proposal SET status = 'parked'
FROM public.knowledge_extraction_runs AS run
WHERE run.id = proposal.extraction_run_id AND proposal.status = 'pending' AND run.settings ->> 'mode' = 'proposal'
RETURNING proposal.id
