-- How many requests of an operation were answered in a window, and how many of them beyond the limit (the buckets after
-- the one that ends there). Uses the primary key of the measurements.
SELECT coalesce(sum(counts.answered), 0)::bigint AS sample, coalesce(sum(counts.slow), 0)::bigint AS hits
FROM migration.service_measurement AS measured
CROSS JOIN LATERAL (
    SELECT sum(bucket.requests) AS answered, sum(bucket.requests) FILTER (WHERE bucket.number > %(within)s) AS slow
    FROM unnest(measured.buckets) WITH ORDINALITY AS bucket (requests, number)
) AS counts
WHERE measured.at > %(since)s AND measured.at <= %(until)s AND measured.operation = %(operation)s
