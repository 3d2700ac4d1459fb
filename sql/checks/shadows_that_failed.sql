-- Direct writes whose proposals could not be written and have not been repaired. Reads a table of the schema migration.
SELECT id, failed_at, extraction_run_id, process, sqlstate, reason
FROM migration.shadow_failure
WHERE repaired_at IS NULL
