-- The next runs of the given age in order of time, each with the reason why it has to stay. Locks nothing; relies on
-- idx_knowledge_runs_created, read backwards.
SELECT run.id, run.created_at, {kept_because} AS kept_because
FROM public.knowledge_extraction_runs AS run
WHERE run.created_at < %(before)s
  AND (run.created_at, run.id) > (%(after_at)s, %(after_id)s)
ORDER BY run.created_at, run.id
LIMIT %(batch_runs)s
