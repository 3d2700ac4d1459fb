-- Rows that name a row of another table which is not there. One pass over both tables (a hash anti join); reads only.
-- The batch is what Great Expectations puts in: the table under validation.
SELECT {shown}
FROM (SELECT * FROM {batch}) AS referring
WHERE referring.{column} IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM {referenced} AS there WHERE there.id = referring.{column})
