-- What the operator has set for a running backfill; NULL: as the settings say.
SELECT paused, batch_size, rate_limit_per_second FROM migration.backfill_control
