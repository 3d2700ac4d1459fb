-- Strategy appendix C: proposals sure enough for automatic approval that were not approved so, and why. What the backfill made
-- is no such proposal (ERRATA V19).
SELECT
    since.entity, since.id, since.confidence, since.status, since.created_at,
    CASE
        WHEN since.origin = 'dual_write' THEN 'made in dual write: what direct mode wrote was approved with it'
        WHEN since.similar THEN 'similar to something that is there: a person decides'
        WHEN since.review_action IN ('park', 'replay') THEN 'parked or replayed by a way back'
        WHEN since.review_action IN ('approve', 'reject', 'merge', 'undo') THEN 'a person decided'
        ELSE 'the sensor auto_approval approves it, if automatic approval is on'
    END AS why
FROM ({since}) AS since
WHERE since.confidence >= %(threshold)s AND since.review_action IS DISTINCT FROM 'auto_approve'
ORDER BY since.confidence DESC, since.id
LIMIT 50
