-- Wraps the rows of one finding: their first ones in the order of their key, each with the exact number of them all, so
-- that the sample always explains the count. No row means that nothing was found.
WITH offending AS (
{rows}
)
SELECT offending.*, count(*) OVER () AS found
FROM offending
ORDER BY 1, 2
LIMIT %(sample)s
