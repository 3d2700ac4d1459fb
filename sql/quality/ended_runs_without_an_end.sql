-- Runs whose end does not fit their status: an end while they run, or none when they are over. One scan; reads only.
-- The batch is what Great Expectations puts in: the table under validation.
SELECT id, status, completed_at
FROM (SELECT * FROM {batch}) AS runs
WHERE (status IN ('completed', 'failed')) <> (completed_at IS NOT NULL)
