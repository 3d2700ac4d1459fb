-- How many proposals the migration's run still has in one table.
SELECT count(*) AS rows FROM {proposals} WHERE extraction_run_id = %(run)s
