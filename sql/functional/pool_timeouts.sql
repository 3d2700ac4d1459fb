-- Requests that got no connection since a moment, as the processes of the service counted them.
SELECT coalesce(sum(measured.pool_timeouts), 0)::bigint AS pool_timeouts
FROM migration.service_measurement AS measured
WHERE measured.at >= %(since)s
