-- Requests of users in a window, without extractions counted twice and without those that the full queue refused, and how
-- many of them failed. Uses the primary key of the measurements.
SELECT coalesce(sum(requests - refused), 0)::bigint AS sample, coalesce(sum(errors), 0)::bigint AS hits
FROM migration.service_measurement
WHERE at > %(since)s AND at <= %(until)s AND operation NOT IN ('extraction', 'pool')
