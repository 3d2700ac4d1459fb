-- name: decisions_that_do_not_say_when_or_how
-- Decided proposals without the time of the decision, or without the action. One scan; reads only.
-- The batch is what Great Expectations puts in: the table under validation.
SELECT id, status, review_action, reviewed_at
FROM (SELECT * FROM {batch}) AS proposals
WHERE status IN ('approved', 'auto_approved', 'rejected', 'merged') AND (reviewed_at IS NULL OR review_action IS NULL)

-- name: empty_texts
-- Rows whose text in one column is empty. One scan; reads only.
-- The batch is what Great Expectations puts in: the table under validation.
SELECT {key}, {column} FROM (SELECT * FROM {batch}) AS empty WHERE {column} = ''

-- name: ended_runs_without_an_end
-- Runs whose end does not fit their status: an end while they run, or none when they are over. One scan; reads only.
-- The batch is what Great Expectations puts in: the table under validation.
SELECT id, status, completed_at
FROM (SELECT * FROM {batch}) AS runs
WHERE (status IN ('completed', 'failed')) <> (completed_at IS NOT NULL)

-- name: failed_runs_without_an_error
-- Failed runs that do not say why. One scan; reads only.
-- The batch is what Great Expectations puts in: the table under validation.
SELECT id, status, started_at FROM (SELECT * FROM {batch}) AS runs WHERE status = 'failed' AND error_message IS NULL

-- name: half_stated_similarities
-- Proposals with a similarity that states its score or its type only. One scan; reads only.
-- The batch is what Great Expectations puts in: the table under validation.
SELECT id, similarity_score, similarity_type
FROM (SELECT * FROM {batch}) AS proposals
WHERE (similarity_score IS NULL) <> (similarity_type IS NULL)

-- name: join_snapshot
-- Makes this transaction see the moment that another one has exported; it must be the transaction's first statement and the
-- transaction REPEATABLE READ. Takes no lock; vacuum waits for the exporting transaction anyway.
SET TRANSACTION SNAPSHOT {snapshot}

-- name: missing_reference
-- Rows that name a row of another table which is not there. One pass over both tables (a hash anti join); reads only.
-- The batch is what Great Expectations puts in: the table under validation.
SELECT {shown}
FROM (SELECT * FROM {batch}) AS referring
WHERE referring.{column} IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM {referenced} AS there WHERE there.id = referring.{column})

-- name: pending_proposals_without_a_confidence
-- Proposals that wait for a review and state no confidence. One scan, or the index on status; reads only.
-- The batch is what Great Expectations puts in: the table under validation.
SELECT id, status FROM (SELECT * FROM {batch}) AS proposals WHERE status = 'pending' AND confidence IS NULL

-- name: proposed_topics_that_are_no_list
-- Atom proposals whose proposed_topic_ids is not a list of numbers (topics) and strings (proposals). One scan; reads only.
-- The batch is what Great Expectations puts in: the table under validation.
SELECT id, left(CAST(proposed_topic_ids AS text), 100) AS proposed_topic_ids
FROM (SELECT * FROM {batch}) AS proposals
WHERE proposed_topic_ids IS NOT NULL
  AND (
      jsonb_typeof(proposed_topic_ids) <> 'array'
      OR jsonb_path_exists(proposed_topic_ids, '$[*] ? (@.type() != "number" && @.type() != "string")')
  )

-- name: runs_with_another_message_count
-- Runs whose message_count is not the length of message_ids. One scan; reads only.
-- The batch is what Great Expectations puts in: the table under validation.
SELECT id, message_count, left(CAST(message_ids AS text), 100) AS message_ids
FROM (SELECT * FROM {batch}) AS runs
WHERE CASE jsonb_typeof(message_ids) WHEN 'array' THEN jsonb_array_length(message_ids) ELSE -1 END <> message_count

-- name: tables
-- The columns of these tables, in this schema, as far as they are there. Reads the catalog only; takes no lock that matters.
SELECT relation.relname AS table, attribute.attname AS column
FROM pg_class AS relation
JOIN pg_attribute AS attribute ON attribute.attrelid = relation.oid
WHERE relation.relnamespace = to_regnamespace(%(schema)s)
  AND relation.relname = ANY (%(tables)s)
  AND relation.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND attribute.attnum > 0
  AND NOT attribute.attisdropped
