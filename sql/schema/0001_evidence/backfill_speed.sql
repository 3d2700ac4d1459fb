-- name: up
-- The ledger of the backfill's speed: one row per change, with its reason; the newest holds, and tells when the signals were
-- read. `level` is how much of the time batches run, in all workers together: 1 is one worker without pauses, 0 is a wait. A new
-- table; no lock matters.
CREATE TABLE migration.backfill_speed (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    level double precision NOT NULL CHECK (level >= 0),
    signal text,
    grade text NOT NULL CHECK (grade IN ('none', 'soft', 'hard', 'unreadable', 'critical')),
    reason text NOT NULL,
    rows_per_second double precision NOT NULL DEFAULT 0,
    claimed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    read_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- name: down
-- Removes the ledger of the speed.
DROP TABLE migration.backfill_speed;
