-- Since when this database's statistics count; NULL: since it was made.
SELECT stats_reset AS since FROM pg_stat_database WHERE datname = current_database()
