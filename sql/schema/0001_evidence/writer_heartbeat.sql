-- name: up
-- The heartbeat of each process of the service. A new table; no lock matters.
CREATE TABLE migration.writer_heartbeat (
    process text PRIMARY KEY,
    mode text NOT NULL,
    flag_version bigint NOT NULL,
    url text,
    started_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- name: down
-- Removes the heartbeats.
DROP TABLE migration.writer_heartbeat;
