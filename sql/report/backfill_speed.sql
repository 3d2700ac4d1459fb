-- Rows that the backfill linked, summed up in steps of its whole time, for a plot: at most some hundred points.
SELECT
    step.entity, min(step.committed_at) AS at, sum(step.linked_rows)::bigint AS linked, sum(step.quarantined_rows)::bigint AS quarantined,
    count(*) AS batches, max(step.seconds) AS slowest_seconds
FROM (
    SELECT batch.*, width_bucket(extract(epoch FROM batch.committed_at), extract(epoch FROM whole.first), extract(epoch FROM whole.last) + 0.001, 100) AS number
    FROM migration.backfill_batch AS batch
    CROSS JOIN (SELECT min(committed_at) AS first, max(committed_at) AS last FROM migration.backfill_batch) AS whole
) AS step
GROUP BY step.entity, step.number
ORDER BY at
