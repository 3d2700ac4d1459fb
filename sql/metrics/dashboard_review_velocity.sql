-- Strategy §11.2, metric 2: decisions of people per kind about the window's proposals, and how long these had waited (median). How
-- long a person takes is another thing: gate_review_seconds.sql.
SELECT
    since.entity AS label, count(*) AS reviewed,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM since.reviewed_at - since.created_at))::double precision AS waited_seconds
FROM ({since}) AS since
WHERE since.origin = 'proposal' AND since.review_action IN ('approve', 'reject', 'merge')
GROUP BY since.entity
ORDER BY label
