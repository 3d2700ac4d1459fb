-- Wraps a rule: the exact count of what it returns and a bounded sample, from one execution. Always at least one row of
-- the sample: it carries the count.
WITH offending AS MATERIALIZED (
    {rule}
)
SELECT count(*) OVER () AS offending_rows, offending.*
FROM offending
LIMIT greatest(%(sample)s, 1)
