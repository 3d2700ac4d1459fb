-- How many rows a table still has of those up to an id.
SELECT count(*) AS rows FROM {table} AS source WHERE source.id <= %(last)s
