-- Strategy §11.2, metric 2, by day: how many proposals people decided, and how long these had waited. For a table.
SELECT
    (since.reviewed_at AT TIME ZONE 'UTC')::date AS day, since.entity, count(*) AS reviewed,
    round(avg(extract(epoch FROM since.reviewed_at - since.created_at))) AS average_wait_seconds
FROM ({since}) AS since
WHERE since.origin = 'proposal' AND since.review_action IN ('approve', 'reject', 'merge')
GROUP BY day, since.entity
ORDER BY day DESC, since.entity
