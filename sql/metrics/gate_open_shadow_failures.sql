-- Direct writes whose proposals are still missing. Uses the partial index on the open ones.
SELECT count(*) AS hits FROM migration.shadow_failure WHERE repaired_at IS NULL
