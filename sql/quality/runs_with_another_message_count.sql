-- Runs whose message_count is not the length of message_ids. One scan; reads only.
-- The batch is what Great Expectations puts in: the table under validation.
SELECT id, message_count, left(CAST(message_ids AS text), 100) AS message_ids
FROM (SELECT * FROM {batch}) AS runs
WHERE CASE jsonb_typeof(message_ids) WHEN 'array' THEN jsonb_array_length(message_ids) ELSE -1 END <> message_count
