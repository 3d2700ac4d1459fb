-- Bytes of the database on disk: the upper bound of its dump.
SELECT pg_database_size(current_database()) AS bytes
