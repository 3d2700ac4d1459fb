-- What the service counted in the last days: requests, those that failed through no fault of the caller, those without a connection.
SELECT
    coalesce(sum(measured.requests), 0)::bigint AS requests, coalesce(sum(measured.errors), 0)::bigint AS errors,
    coalesce(sum(measured.pool_timeouts), 0)::bigint AS pool_timeouts
FROM migration.service_measurement AS measured
WHERE measured.at > now() - make_interval(days => %(days)s)
