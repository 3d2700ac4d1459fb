-- Removes the ledger and the controls of the backfill. Nothing of the user's.
DROP TABLE migration.backfill_batch;
DROP TABLE migration.backfill_control;
