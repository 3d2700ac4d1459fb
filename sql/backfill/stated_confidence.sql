-- The confidence as the source states it: NULL stays NULL, 0.0 stays 0.0. Out of range it breaks the proposal's check and
-- the row is quarantined, unless an operator decided to clamp it; NaN then becomes unknown, not certainty.
CASE
    WHEN source.quarantine_policy IS DISTINCT FROM 'clamp_confidence' THEN source.confidence
    WHEN source.confidence = 'NaN' THEN NULL
    ELSE greatest(0, least(1, source.confidence))
END
