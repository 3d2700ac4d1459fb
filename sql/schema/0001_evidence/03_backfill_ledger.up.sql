-- The backfill's ledger and watermark, written in the transaction of the rows it speaks of, and the operator's controls.
-- One row of backfill_control; NULL there means: as the settings say. New tables: no lock matters.
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

CREATE TABLE migration.backfill_control (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    paused boolean NOT NULL DEFAULT false,
    batch_size integer CHECK (batch_size BETWEEN 1 AND 50000),
    rate_limit_per_second double precision CHECK (rate_limit_per_second >= 0),
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_by text NOT NULL DEFAULT 'migration'
);
INSERT INTO migration.backfill_control DEFAULT VALUES;
