-- The latest verdicts of one metric since a moment, newest first. Uses the index by stage and metric.
SELECT at, verdict
FROM migration.gate_evaluation
WHERE stage = %(stage)s AND metric = %(metric)s AND at >= %(since)s
ORDER BY id DESC
LIMIT 200
