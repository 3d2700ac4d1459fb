-- Proposals with a similarity that states its score or its type only. One scan; reads only.
-- The batch is what Great Expectations puts in: the table under validation.
SELECT id, similarity_score, similarity_type
FROM (SELECT * FROM {batch}) AS proposals
WHERE (similarity_score IS NULL) <> (similarity_type IS NULL)
