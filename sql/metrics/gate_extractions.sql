-- Extractions in a window by mode: how many were let in, how many failed, and the sums of the logarithms of their seconds.
-- Uses the primary key of the measurements.
SELECT mode, sum(requests - refused)::bigint AS sample, sum(errors)::bigint AS hits,
       sum(requests - refused - errors)::bigint AS answered,
       sum(log_seconds) AS log_seconds, sum(log_seconds_squared) AS log_seconds_squared
FROM migration.service_measurement
WHERE at > %(since)s AND at <= %(until)s AND operation = 'extraction'
GROUP BY mode
