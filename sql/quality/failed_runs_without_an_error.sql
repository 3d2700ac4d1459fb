-- Failed runs that do not say why. One scan; reads only.
-- The batch is what Great Expectations puts in: the table under validation.
SELECT id, status, started_at FROM (SELECT * FROM {batch}) AS runs WHERE status = 'failed' AND error_message IS NULL
