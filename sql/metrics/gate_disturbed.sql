-- Until when the service was loaded on purpose: the end of the last load test, or now while one is under way. A mark that a killed one
-- has left counts for a quarter of an hour only, so that it blinds nobody for good. Relies on evidence_by_kind.
SELECT greatest(
    (SELECT tested.recorded_at FROM migration.evidence AS tested WHERE tested.kind = 'load_test' ORDER BY tested.id DESC LIMIT 1),
    (SELECT %(now)s::timestamptz WHERE EXISTS (
        SELECT FROM migration.evidence AS mark
        WHERE mark.kind = 'marked_messages' AND mark.recorded_at > %(now)s::timestamptz - interval '15 minutes'
    ))
) AS until
