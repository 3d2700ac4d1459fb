-- Changes what a running backfill obeys within a second. A field that is NULL here stays as it is.
UPDATE migration.backfill_control
SET paused = coalesce(%(paused)s, paused),
    batch_size = coalesce(%(batch_size)s, batch_size),
    rate_limit_per_second = coalesce(%(rate_limit_per_second)s, rate_limit_per_second),
    changed_at = clock_timestamp(),
    changed_by = %(actor)s
RETURNING paused, batch_size, rate_limit_per_second
