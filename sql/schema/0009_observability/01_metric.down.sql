-- Drops the metrics over time.
DROP TABLE migration.metric;
