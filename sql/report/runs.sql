-- The latest runs of Dagster, from its own tables: job, status, when and for how long.
SELECT run.run_id, run.pipeline_name AS job, run.status, to_timestamp(run.start_time) AS started, run.end_time - run.start_time AS seconds
FROM runs AS run
WHERE run.start_time IS NOT NULL
ORDER BY run.id DESC
LIMIT %(limit)s
