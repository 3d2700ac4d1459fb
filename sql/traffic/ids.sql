-- Messages and users that the traffic extracts from and for: a spread of them, not all. Uses the primary key.
SELECT id FROM {table} ORDER BY id LIMIT 5000
