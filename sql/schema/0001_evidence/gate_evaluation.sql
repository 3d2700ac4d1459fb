-- name: up
-- Every verdict of a gate. A new table; no lock matters.
CREATE TABLE migration.gate_evaluation (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    stage text NOT NULL,
    metric text NOT NULL,
    verdict text NOT NULL CHECK (verdict IN ('pass', 'fail', 'inconclusive')),
    value double precision,
    threshold double precision,
    window_seconds double precision,
    sample_size bigint,
    detail jsonb,
    database text NOT NULL DEFAULT migration.this_database(),
    dagster_run_id text
);
CREATE INDEX gate_evaluation_by_metric ON migration.gate_evaluation (stage, metric, id DESC);

-- name: down
-- Removes the gate verdicts.
DROP TABLE migration.gate_evaluation;
