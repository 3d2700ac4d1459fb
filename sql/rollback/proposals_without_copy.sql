-- How many proposals of one table exist nowhere else: all but the backfilled images of rows. One scan.
SELECT count(*) AS rows FROM {table} WHERE review_action IS DISTINCT FROM 'auto_approve_migration'
