-- Exports the snapshot of this REPEATABLE READ transaction, so that pg_dump reads the very same rows. It lives as long
-- as the transaction. Takes no lock; while it is open, vacuum keeps every row version newer than it.
SELECT pg_export_snapshot() AS snapshot_id, clock_timestamp() AS taken_at;
