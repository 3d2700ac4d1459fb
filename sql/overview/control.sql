-- What an operator has set for the backfill, who and when; NULL: as the settings say. One row.
SELECT paused, batch_size, rate_limit_per_second, changed_at, changed_by FROM migration.backfill_control
