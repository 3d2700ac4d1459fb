-- Parks, on a clone, what proposal mode has left waiting, so that a way back has nothing to replay.
UPDATE {proposals} AS proposal SET status = 'parked'
FROM public.knowledge_extraction_runs AS run
WHERE run.id = proposal.extraction_run_id AND proposal.status = 'pending' AND run.settings ->> 'mode' = 'proposal'
RETURNING proposal.id
