-- name: up
-- The metrics of the migration over time: one value per metric, label and moment. A new table; no lock matters.
CREATE TABLE migration.metric (
    metric text NOT NULL,
    label text NOT NULL DEFAULT '',
    measured_at timestamptz NOT NULL,
    value double precision NOT NULL,
    PRIMARY KEY (metric, label, measured_at)
);
CREATE INDEX metric_by_time ON migration.metric (measured_at);

-- name: down
-- Removes the metric samples.
DROP TABLE migration.metric;
