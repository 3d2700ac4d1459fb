-- Makes an entry say what the rows of its batch tell; written even if it said so already, so that its transaction is its own.
UPDATE migration.backfill_batch
SET extraction_run_id = %(run)s, after_id = %(after_id)s, through_id = %(through_id)s, linked_rows = %(linked_rows)s
WHERE id = %(id)s
