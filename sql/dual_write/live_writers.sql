-- The processes of the service that reported lately, with what they obey. Reads a small table of our own.
SELECT process, mode, flag_version, seen_at,
       round(extract(epoch FROM clock_timestamp() - seen_at)::numeric, 1) AS seconds_ago
FROM migration.writer_heartbeat
WHERE seen_at > clock_timestamp() - make_interval(secs => %(live_seconds)s)
ORDER BY process
