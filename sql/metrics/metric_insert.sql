-- Keeps samples, all of one moment; one that is there already stays.
INSERT INTO migration.metric (metric, label, measured_at, value)
SELECT one.metric, one.label, %(at)s, one.value
FROM unnest(%(metrics)s::text[], %(labels)s::text[], %(values)s::double precision[]) AS one (metric, label, value)
ON CONFLICT DO NOTHING
