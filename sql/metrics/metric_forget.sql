-- Deletes a bounded number of samples that are older than they are kept. Through the index on time.
DELETE FROM migration.metric AS old
USING (
    SELECT one.metric, one.label, one.measured_at FROM migration.metric AS one
    WHERE one.measured_at < now() - make_interval(days => %(days)s) ORDER BY one.measured_at LIMIT 10000
) AS gone
WHERE (old.metric, old.label, old.measured_at) = (gone.metric, gone.label, gone.measured_at)
