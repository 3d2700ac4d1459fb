-- The samples of the latest moment.
SELECT one.metric, one.label, one.measured_at, one.value
FROM migration.metric AS one
WHERE one.measured_at = (SELECT max(newest.measured_at) FROM migration.metric AS newest)
ORDER BY one.metric, one.label
