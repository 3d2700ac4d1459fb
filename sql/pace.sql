-- name: active_sessions
-- Sessions of others that work now, divided by the cores; the backfill's own do not count. A session that this role may not see
-- has no backend_type either. Reads pg_stat_activity.
SELECT '' AS subject,
       CASE WHEN count(*) FILTER (WHERE query = '<insufficient privilege>') = 0
           THEN count(*) FILTER (WHERE state = 'active') / %(cores)s::double precision END AS value
FROM pg_stat_activity
WHERE datid IS NOT NULL AND usesysid IS NOT NULL
  AND (backend_type = 'client backend' OR query = '<insufficient privilege>')
  AND application_name NOT LIKE 'knowledge\_migration backfill %%'

-- name: archive_queue
-- WAL files that wait for archive_command. Lists a directory of the server; needs pg_monitor.
SELECT '' AS subject, count(*)::double precision AS value FROM pg_ls_archive_statusdir() WHERE name LIKE '%%.ready'

-- name: blocked_sessions
-- Sessions that wait for a lock of a session of the backfill. pg_blocking_pids is asked only for sessions that wait.
SELECT '' AS subject,
       CASE WHEN count(*) FILTER (WHERE waiting.query = '<insufficient privilege>') = 0
           THEN count(*) FILTER (WHERE waiting.wait_event_type = 'Lock' AND EXISTS (
               SELECT FROM pg_stat_activity AS ours
               WHERE ours.application_name LIKE 'knowledge\_migration backfill %%' AND ours.datname = current_database()
                 AND ours.pid = ANY (pg_blocking_pids(waiting.pid))
           ))::double precision END AS value
FROM pg_stat_activity AS waiting
WHERE waiting.datname = current_database() AND waiting.usesysid IS NOT NULL
  AND waiting.application_name NOT LIKE 'knowledge\_migration backfill %%'

-- name: canary
-- A read of the application's kind: two rows by primary key. The caller takes the time. ACCESS SHARE for an instant.
SELECT (SELECT one.name FROM public.topics AS one ORDER BY one.id LIMIT 1), (SELECT one.title FROM public.atoms AS one ORDER BY one.id LIMIT 1)

-- name: checkpoint_wal
-- WAL since the last completed checkpoint, as a multiple of max_wal_size.
SELECT '' AS subject,
       (pg_current_wal_insert_lsn() - redo_lsn)::double precision / pg_size_bytes(current_setting('max_wal_size')) AS value
FROM pg_control_checkpoint()

-- name: circumstances
-- What decides which signals are expected here: the archive, pg_stat_statements, the data directory if this role may see it.
SELECT current_setting('archive_mode') <> 'off' AS archives,
       (SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'pg_stat_statements') AS statements_schema,
       CASE WHEN pg_has_role(current_user, 'pg_read_all_settings', 'USAGE') THEN current_setting('data_directory') END AS data_directory

-- name: claim
-- Makes this process the reader of this second: of several only one gets a row. Locks the newest row of the ledger.
WITH newest AS (SELECT id, read_at FROM migration.backfill_speed ORDER BY id DESC LIMIT 1)
UPDATE migration.backfill_speed AS speed
SET claimed_at = clock_timestamp()
FROM newest
WHERE speed.id = newest.id AND speed.claimed_at < clock_timestamp() - make_interval(secs => %(seconds)s)
RETURNING speed.id, speed.level, speed.signal, speed.grade, speed.reason,
          extract(epoch FROM clock_timestamp() - newest.read_at)::double precision AS age_seconds

-- name: confirm
-- The speed stays: the newest reading has given the same.
UPDATE migration.backfill_speed SET read_at = clock_timestamp() WHERE id = %(id)s

-- name: dead_rows
-- Dead rows of a table as a multiple of what starts an autovacuum of it, where there are more than a million; with the state of
-- vacuum as subject. Reads statistics.
SELECT stats.relname || CASE WHEN running.pid IS NOT NULL THEN ' (vacuum is running)'
           WHEN current_setting('autovacuum') = 'off' OR 'autovacuum_enabled=false' = ANY (class.reloptions)
           THEN ' (autovacuum is off)' ELSE '' END AS subject,
       CASE WHEN stats.n_dead_tup > 1000000
           THEN stats.n_dead_tup / (own.threshold + own.factor * greatest(class.reltuples, 0)) ELSE 0 END AS value
FROM pg_stat_user_tables AS stats
JOIN pg_class AS class ON class.oid = stats.relid
LEFT JOIN pg_stat_progress_vacuum AS running ON running.relid = stats.relid
CROSS JOIN LATERAL (
    SELECT coalesce(max(option_value::double precision) FILTER (WHERE option_name = 'autovacuum_vacuum_threshold'),
                    current_setting('autovacuum_vacuum_threshold')::double precision) AS threshold,
           coalesce(max(option_value::double precision) FILTER (WHERE option_name = 'autovacuum_vacuum_scale_factor'),
                    current_setting('autovacuum_vacuum_scale_factor')::double precision) AS factor
    FROM pg_options_to_table(class.reloptions)
    WHERE option_name IN ('autovacuum_vacuum_threshold', 'autovacuum_vacuum_scale_factor')
) AS own
WHERE stats.schemaname = 'public' AND stats.relname IN ('topics', 'atoms')

-- name: newest
-- The speed that holds now, how long ago the signals were read, and the sessions that share it. Primary key, pg_stat_activity.
SELECT speed.id, speed.level, speed.signal, speed.grade, speed.reason,
       extract(epoch FROM clock_timestamp() - speed.read_at)::double precision AS age_seconds,
       (SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database()
          AND application_name IN ('knowledge_migration backfill topic', 'knowledge_migration backfill atom')) AS workers
FROM migration.backfill_speed AS speed
ORDER BY speed.id DESC
LIMIT 1

-- name: oldest_snapshot
-- The transaction in this database that has kept dead rows from being removed for the longest time; not of a vacuum, not ours.
SELECT oldest.subject, oldest.value
FROM (
    SELECT 'pid ' || pid || coalesce(' ' || nullif(application_name, ''), '') AS subject,
           extract(epoch FROM clock_timestamp() - xact_start)::double precision AS value
    FROM pg_stat_activity
    WHERE datname = current_database()
      AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)
      AND usesysid IS NOT NULL
      AND (backend_type = 'client backend' OR query = '<insufficient privilege>')
      AND application_name NOT LIKE 'knowledge\_migration backfill %%'
      AND pid NOT IN (SELECT running.pid FROM pg_stat_progress_vacuum AS running)
    UNION ALL
    SELECT 'prepared transaction ' || gid, extract(epoch FROM clock_timestamp() - prepared) FROM pg_prepared_xacts
    WHERE database = current_database()
) AS oldest
ORDER BY oldest.value DESC NULLS FIRST
LIMIT 1

-- name: record
-- Another speed, with its reason and the rows per second at this moment; only the newest changes are kept.
WITH added AS (
    INSERT INTO migration.backfill_speed (level, signal, grade, reason, rows_per_second)
    SELECT %(level)s, %(signal)s, %(grade)s, %(reason)s, (
        SELECT coalesce(sum(newest.linked_rows), 0) / 5.0
        FROM (SELECT batch.linked_rows, batch.committed_at FROM migration.backfill_batch AS batch ORDER BY batch.id DESC LIMIT 2000) AS newest
        WHERE newest.committed_at > clock_timestamp() - interval '5 seconds'
    )
    RETURNING id
)
DELETE FROM migration.backfill_speed USING added WHERE backfill_speed.id <= added.id - %(kept)s

-- name: replay_behind
-- How many megabytes of WAL a replica or subscriber has not replayed.
SELECT concat_ws(' at ', application_name, host(client_addr)) AS subject,
       CASE WHEN state IS NOT NULL THEN coalesce(pg_current_wal_lsn() - replay_lsn, 0)::double precision / 1048576 END AS value
FROM pg_stat_replication

-- name: replay_lag
-- How many seconds a replica or subscriber is behind. The server clears it when the replica has caught up.
SELECT concat_ws(' at ', application_name, host(client_addr)) AS subject,
       CASE WHEN state IS NOT NULL THEN coalesce(extract(epoch FROM replay_lag), 0)::double precision END AS value
FROM pg_stat_replication

-- name: seed
-- The first row of the ledger, before any reading.
INSERT INTO migration.backfill_speed (level, grade, reason, claimed_at, read_at)
SELECT 0, 'none', 'no signal has been read yet', 'epoch', 'epoch'
WHERE NOT EXISTS (SELECT FROM migration.backfill_speed)

-- name: service_slowdown
-- The operation of the service that is slowest against the hour before the backfill began: the ratio of geometric means. By the
-- primary key, from its first column. None without 20 requests in both periods.
SELECT recent.operation || ' ' || recent.mode AS subject, exp(recent.mean - earlier.mean) AS value
FROM (
    SELECT operation, mode, sum(log_seconds) / sum(requests) AS mean
    FROM migration.service_measurement
    WHERE at > clock_timestamp() - interval '1 minute'
    GROUP BY operation, mode HAVING sum(requests) >= 20
) AS recent
JOIN (
    SELECT measured.operation, measured.mode, sum(measured.log_seconds) / sum(measured.requests) AS mean
    FROM migration.service_measurement AS measured
    JOIN public.knowledge_extraction_runs AS run ON run.id = migration.origin_proposal_id('knowledge_extraction_runs', 0)
    WHERE measured.at BETWEEN run.started_at - interval '1 hour' AND run.started_at
    GROUP BY measured.operation, measured.mode HAVING sum(measured.requests) >= 20
) AS earlier USING (operation, mode)
ORDER BY value DESC
LIMIT 1

-- name: slot_wal
-- The megabytes of WAL that each replication slot retains.
SELECT slot_name AS subject, (pg_current_wal_lsn() - restart_lsn)::double precision / 1048576 AS value
FROM pg_replication_slots
WHERE restart_lsn IS NOT NULL AND wal_status IS DISTINCT FROM 'lost'

-- name: slot_wal_left
-- The percentage of max_slot_wal_keep_size that is left before each slot is lost; none without that limit.
SELECT slot_name AS subject,
       100 * safe_wal_size::double precision / pg_size_bytes(current_setting('max_slot_wal_keep_size')) AS value
FROM pg_replication_slots
WHERE safe_wal_size IS NOT NULL AND wal_status IS DISTINCT FROM 'lost'

-- name: statements
-- Calls and times of the statements in this database, except those of the migration. Reads the texts, so seldom.
SELECT queryid, sum(calls)::double precision AS calls, sum(total_exec_time) AS milliseconds,
       bool_or(query = '<insufficient privilege>') AS hidden
FROM {statements}
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND query NOT LIKE '%%migration%%'
GROUP BY queryid

-- name: waiting_batches
-- Sessions of the backfill that wait for a lock.
SELECT '' AS subject, count(*)::double precision AS value
FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND application_name LIKE 'knowledge\_migration backfill %%'

-- name: wal_position
-- The position of the WAL in bytes.
SELECT (pg_current_wal_insert_lsn() - '0/0')::double precision AS bytes
