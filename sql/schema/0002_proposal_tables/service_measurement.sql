-- name: up
-- Measurements of the service processes: requests, errors and times per process, operation and mode, a row every few
-- seconds. Times are sums of logarithms (geometric means with a confidence interval) and counts by bucket. A new table; no
-- lock matters.
CREATE TABLE migration.service_measurement (
    process text NOT NULL,
    at timestamptz NOT NULL,
    operation text NOT NULL,
    mode text NOT NULL,
    requests bigint NOT NULL,
    errors bigint NOT NULL,
    refused bigint NOT NULL,
    pool_timeouts bigint NOT NULL,
    log_seconds double precision NOT NULL,
    log_seconds_squared double precision NOT NULL,
    buckets bigint[] NOT NULL,
    PRIMARY KEY (at, process, operation, mode)
);

-- name: down
-- Removes the measurements of the service.
DROP TABLE migration.service_measurement;
