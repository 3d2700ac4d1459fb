-- name: up
-- The ledger and watermark of the backfill, written in the transaction of the rows it records. A new table; no lock matters.
CREATE TABLE migration.backfill_batch (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    entity text NOT NULL CHECK (entity IN ('topic', 'atom')),
    partition_key text NOT NULL,
    extraction_run_id uuid NOT NULL,
    after_id bigint NOT NULL,
    through_id bigint NOT NULL,
    linked_rows integer NOT NULL,
    quarantined_rows integer NOT NULL DEFAULT 0,
    seconds double precision NOT NULL,
    committed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    dagster_run_id text
);
CREATE INDEX backfill_batch_by_partition ON migration.backfill_batch (entity, partition_key, through_id DESC);

-- name: down
-- Removes the ledger of the backfill.
DROP TABLE migration.backfill_batch;
