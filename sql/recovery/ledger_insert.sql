-- Puts an entry back for a batch that the rows tell of. A table of our own: no lock matters.
INSERT INTO migration.backfill_batch (
    entity, partition_key, extraction_run_id, after_id, through_id, linked_rows, seconds, committed_at
) VALUES (
    %(entity)s, %(partition_key)s, %(run)s, %(after_id)s, %(through_id)s, %(linked_rows)s, 0, %(committed_at)s
)
