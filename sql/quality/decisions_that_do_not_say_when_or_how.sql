-- Decided proposals without the time of the decision, or without the action. One scan; reads only.
-- The batch is what Great Expectations puts in: the table under validation.
SELECT id, status, review_action, reviewed_at
FROM (SELECT * FROM {batch}) AS proposals
WHERE status IN ('approved', 'auto_approved', 'rejected', 'merged') AND (reviewed_at IS NULL OR review_action IS NULL)
