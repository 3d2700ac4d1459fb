-- Wraps a rule: the exact count of what it returns and a bounded sample, from one execution.
WITH offending AS MATERIALIZED (
    {rule}
)
SELECT count(*) OVER () AS offending_rows, offending.*
FROM offending
LIMIT %(sample)s
