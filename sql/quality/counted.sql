-- Wraps a rule: every row of a bounded sample carries the exact count, from one execution. No row means that the rule holds.
WITH offending AS MATERIALIZED (
    {rule}
)
SELECT count(*) OVER () AS offending_rows, offending.* FROM offending LIMIT {sample}
