-- Sets a row aside with the reason; a row that failed again after a decision is open again.
INSERT INTO migration.quarantine (entity, row_id, sqlstate, reason)
VALUES (%(entity)s, %(row_id)s, %(sqlstate)s, %(reason)s)
ON CONFLICT (entity, row_id) DO UPDATE
SET state = 'open', sqlstate = excluded.sqlstate, reason = excluded.reason, found_at = clock_timestamp()
