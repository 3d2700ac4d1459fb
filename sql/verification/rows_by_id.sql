-- Some rows, each read through the primary key.
unnest(%(ids)s::bigint[]) AS wanted (id)
JOIN {table} AS source ON source.id = wanted.id
