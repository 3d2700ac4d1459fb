-- What asks the backfill to wait: the lag of the slowest replica in seconds.
SELECT coalesce((SELECT max(extract(epoch FROM replay_lag)) FROM pg_stat_replication), 0)::double precision AS replica_lag_seconds
