-- Requests that got no connection in time, of all. Uses the primary key of the measurements.
SELECT coalesce(sum(requests), 0)::bigint AS sample, coalesce(sum(pool_timeouts), 0)::bigint AS hits
FROM migration.service_measurement
WHERE at > %(since)s AND at <= %(until)s
