-- How long a reviewer takes: from one decision to the next of the same person, the median of those less than ten minutes
-- apart (a longer gap is a pause). Reads the audit log of the window.
SELECT count(*) AS sample, percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) AS value
FROM (
    SELECT extract(epoch FROM at - lag(at) OVER (PARTITION BY actor ORDER BY at))::double precision AS seconds
    FROM migration.audit_log
    WHERE at > %(since)s AND at <= %(until)s
      AND action IN ('approve proposal', 'reject proposal', 'merge proposal')
) AS decided
WHERE seconds < 600
