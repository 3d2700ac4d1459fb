-- The rows of some key ranges, each read through the primary key.
unnest(%(ranges)s::bigint[]) AS wanted (key_range)
JOIN {table} AS source ON source.id >= wanted.key_range << %(shift)s AND source.id < (wanted.key_range + 1) << %(shift)s
