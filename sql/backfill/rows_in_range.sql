-- Rows of an id range, and how many of them have their proposal. Reads the range by primary key.
SELECT count(*) AS rows, count(migrated_from_proposal_id) AS linked
FROM {table}
WHERE id > %(after)s AND id <= %(through)s
