-- How many rows of an id range still wait for their proposal (quarantined ones do not). Reads the range by primary key.
SELECT count(*) AS rows, min(source.id) AS first_id
FROM {table} AS source
WHERE {pending}
