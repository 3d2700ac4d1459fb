-- Records an operator's decision on rows that were set aside; a row that has its proposal already is not touched.
UPDATE migration.quarantine
SET state = %(state)s, policy = %(policy)s, decided_at = clock_timestamp(), decided_by = %(actor)s, note = %(note)s
WHERE entity = %(entity)s AND row_id = ANY (%(row_ids)s) AND state <> 'resolved'
RETURNING row_id
