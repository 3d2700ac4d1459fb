-- name: decisions_that_do_not_say_when_or_how
-- Decided proposals without the time of the decision, or without the action. One scan.
SELECT id, status, review_action, reviewed_at
FROM (SELECT * FROM {batch}) AS proposals
WHERE status IN ('approved', 'auto_approved', 'rejected', 'merged') AND (reviewed_at IS NULL OR review_action IS NULL)

-- name: empty_texts
-- Rows whose text in one column is empty. One scan.
SELECT {key}, {column} FROM (SELECT * FROM {batch}) AS empty WHERE {column} = ''

-- name: ended_runs_without_an_end
-- Runs whose end contradicts their status: an end while running, or none after the end. One scan.
SELECT id, status, completed_at
FROM (SELECT * FROM {batch}) AS runs
WHERE (status IN ('completed', 'failed')) <> (completed_at IS NOT NULL)

-- name: failed_runs_without_an_error
-- Failed runs without an error. One scan.
SELECT id, status, started_at FROM (SELECT * FROM {batch}) AS runs WHERE status = 'failed' AND error_message IS NULL

-- name: half_stated_similarities
-- Proposals with only one of score and type of a similarity. One scan.
SELECT id, similarity_score, similarity_type
FROM (SELECT * FROM {batch}) AS proposals
WHERE (similarity_score IS NULL) <> (similarity_type IS NULL)

-- name: missing_reference
-- Rows that name a missing row of another table. One hash anti join.
SELECT {shown}
FROM (SELECT * FROM {batch}) AS referring
WHERE referring.{column} IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM {referenced} AS there WHERE there.id = referring.{column})

-- name: pending_proposals_without_a_confidence
-- Pending proposals without a confidence. One scan, or the index on status.
SELECT id, status FROM (SELECT * FROM {batch}) AS proposals WHERE status = 'pending' AND confidence IS NULL

-- name: proposed_topics_that_are_no_list
-- Atom proposals whose proposed_topic_ids is not a list of numbers (topics) and strings (proposals). One scan.
SELECT id, left(CAST(proposed_topic_ids AS text), 100) AS proposed_topic_ids
FROM (SELECT * FROM {batch}) AS proposals
WHERE proposed_topic_ids IS NOT NULL
  AND (
      jsonb_typeof(proposed_topic_ids) <> 'array'
      OR jsonb_path_exists(proposed_topic_ids, '$[*] ? (@.type() != "number" && @.type() != "string")')
  )

-- name: runs_with_another_message_count
-- Runs whose message_count is not the length of message_ids. One scan.
SELECT id, message_count, left(CAST(message_ids AS text), 100) AS message_ids
FROM (SELECT * FROM {batch}) AS runs
WHERE CASE jsonb_typeof(message_ids) WHEN 'array' THEN jsonb_array_length(message_ids) ELSE -1 END <> message_count

-- name: tables
-- The columns of those of these tables that exist in this schema. Reads the catalog only.
SELECT relation.relname AS table, attribute.attname AS column
FROM pg_class AS relation
JOIN pg_attribute AS attribute ON attribute.attrelid = relation.oid
WHERE relation.relnamespace = to_regnamespace(%(schema)s)
  AND relation.relname = ANY (%(tables)s)
  AND relation.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND attribute.attnum > 0
  AND NOT attribute.attisdropped
