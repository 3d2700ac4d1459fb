-- Removes an entry that speaks of no batch, or of one that another entry speaks of. The audit log keeps what it said.
DELETE FROM migration.backfill_batch WHERE id = %(id)s
