-- Samples since a moment, in order, for plots.
SELECT one.metric, one.label, one.measured_at, one.value
FROM migration.metric AS one
WHERE one.measured_at >= %(since)s
ORDER BY one.measured_at, one.metric, one.label
LIMIT 200000
