-- What asks the backfill to wait: the lag of the slowest replica in seconds, and sessions that wait for this one.
SELECT
    coalesce((SELECT max(extract(epoch FROM replay_lag)) FROM pg_stat_replication), 0)::double precision AS replica_lag_seconds,
    (SELECT count(*) FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))) AS waiting_sessions
