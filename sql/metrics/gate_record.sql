-- Keeps one verdict. An append to a table of our own.
INSERT INTO migration.gate_evaluation
    (at, stage, metric, verdict, value, threshold, window_seconds, sample_size, detail, dagster_run_id)
VALUES
    (%(at)s, %(stage)s, %(metric)s, %(verdict)s, %(value)s, %(threshold)s, %(window_seconds)s, %(sample_size)s,
     %(detail)s, %(dagster_run_id)s)
