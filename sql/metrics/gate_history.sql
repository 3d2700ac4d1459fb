-- Every verdict of the last days, for a plot.
SELECT at, stage, metric, verdict, value, threshold, sample_size
FROM migration.gate_evaluation
WHERE at > %(since)s
ORDER BY id
LIMIT 20000
