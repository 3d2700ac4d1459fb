-- The ids of a table: first, last. Two index look-ups.
SELECT min(id) AS first_id, max(id) AS last_id FROM {table}
