-- Rows that the backfill linked in the last minute, and over how many seconds; from the newest batches only.
SELECT
    coalesce(sum(newest.linked_rows), 0)::bigint AS linked,
    extract(epoch FROM clock_timestamp() - min(newest.committed_at)) AS seconds
FROM (SELECT batch.linked_rows, batch.committed_at FROM migration.backfill_batch AS batch ORDER BY batch.id DESC LIMIT 5000) AS newest
WHERE newest.committed_at > clock_timestamp() - interval '60 seconds'
