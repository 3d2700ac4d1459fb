-- Bounds each statement of this transaction, so that no measurement burdens the database for long; it ends with the
-- transaction.
SELECT set_config('statement_timeout', %(timeout)s, true)
