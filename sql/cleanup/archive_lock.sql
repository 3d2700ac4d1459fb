-- Locks these runs but for those that somebody is at work on. FOR UPDATE: reviewers lock the run first, and a proposal that is
-- being inserted holds it too, so nobody changes or adds a proposal of these from here on.
SELECT run.id
FROM public.knowledge_extraction_runs AS run
WHERE run.id = ANY (%(runs)s)
ORDER BY run.id
FOR UPDATE SKIP LOCKED
