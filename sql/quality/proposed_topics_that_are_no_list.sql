-- Atom proposals whose proposed_topic_ids is not a list of numbers (topics) and strings (proposals). One scan; reads only.
-- The batch is what Great Expectations puts in: the table under validation.
SELECT id, left(CAST(proposed_topic_ids AS text), 100) AS proposed_topic_ids
FROM (SELECT * FROM {batch}) AS proposals
WHERE proposed_topic_ids IS NOT NULL
  AND (
      jsonb_typeof(proposed_topic_ids) <> 'array'
      OR jsonb_path_exists(proposed_topic_ids, '$[*] ? (@.type() != "number" && @.type() != "string")')
  )
