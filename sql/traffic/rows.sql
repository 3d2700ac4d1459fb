-- Rows of one table as JSON. Uses the primary key.
SELECT id, to_jsonb(source) AS row FROM {table} AS source WHERE id = ANY (%(ids)s)
