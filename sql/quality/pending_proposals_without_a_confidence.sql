-- Proposals that wait for a review and state no confidence. One scan, or the index on status; reads only.
-- The batch is what Great Expectations puts in: the table under validation.
SELECT id, status FROM (SELECT * FROM {batch}) AS proposals WHERE status = 'pending' AND confidence IS NULL
