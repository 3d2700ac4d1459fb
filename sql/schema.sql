-- name: lock_holders
-- Who holds a lock on one of the tables in a mode that conflicts, in a transaction older than the age: sessions, and
-- prepared transactions (they have no pid). Only a role with pg_read_all_stats sees age, state and query of another user's
-- session; for age 0 the result includes sessions of unknown age. Reads pg_locks, pg_stat_activity and pg_prepared_xacts.
SELECT DISTINCT ON (held.virtualtransaction)
    held.pid,
    coalesce(activity.usename, prepared.owner) AS "user",
    coalesce(
        activity.application_name, 'prepared transaction ' || quote_literal(prepared.gid), 'a prepared transaction'
    ) AS application,
    CASE WHEN held.pid IS NULL THEN 'prepared' ELSE coalesce(activity.state, 'state not visible') END AS state,
    extract(epoch FROM clock_timestamp() - began.at)::double precision AS transaction_seconds,
    relation.relname AS table,
    held.mode,
    CASE
        WHEN held.pid IS NULL THEN 'COMMIT PREPARED or ROLLBACK PREPARED ends it'
        ELSE left(regexp_replace(activity.query, '\s+', ' ', 'g'), 200)
    END AS query
FROM pg_locks AS held
JOIN pg_class AS relation ON relation.oid = held.relation
LEFT JOIN pg_stat_activity AS activity ON activity.pid = held.pid
LEFT JOIN pg_locks AS identity
    ON held.pid IS NULL AND identity.pid IS NULL AND identity.locktype = 'transactionid'
   AND identity.virtualtransaction = held.virtualtransaction
LEFT JOIN pg_prepared_xacts AS prepared ON prepared.transaction = identity.transactionid
CROSS JOIN LATERAL (SELECT coalesce(activity.xact_start, prepared.prepared) AS at) AS began
WHERE held.granted
  AND held.locktype = 'relation'
  AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND relation.oid IN (SELECT to_regclass(needed.name) FROM unnest(%(tables)s::text[]) AS needed (name))
  AND held.mode = ANY (%(modes)s)
  AND held.pid IS DISTINCT FROM pg_backend_pid()
  AND (
      began.at < clock_timestamp() - make_interval(secs => %(age_seconds)s)
      OR (began.at IS NULL AND %(age_seconds)s = 0)
  )
ORDER BY held.virtualtransaction, held.mode

-- name: lock_for_maintenance
-- Taken before a stronger lock where VACUUM has the table. Conflicts with maintenance and DDL, with no reader or writer.
LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE

-- name: object_gone
-- Deletes the record of an object, in the transaction that drops the object. Our own table; no lock matters.
DELETE FROM migration.schema_object WHERE name = %(name)s

-- name: object_made
-- Records that this migration creates an object, in the same transaction. Our own table; no lock matters.
INSERT INTO migration.schema_object (name) VALUES (%(name)s) ON CONFLICT DO NOTHING

-- name: object_state
-- The state of one object in the catalog: 'missing', 'invalid' (an index whose build was interrupted, a constraint that is
-- not validated, a trigger that is disabled) or 'present'. Reads the catalog only.
SELECT coalesce(
    CASE %(kind)s::text
        WHEN 'table' THEN (SELECT 'present' WHERE to_regclass(%(name)s) IS NOT NULL)
        WHEN 'function' THEN (SELECT 'present' WHERE to_regproc(%(name)s) IS NOT NULL)
        WHEN 'column' THEN (
            SELECT 'present' FROM pg_attribute
            WHERE attrelid = to_regclass(%(relation)s) AND attname = %(name)s AND NOT attisdropped
        )
        WHEN 'index' THEN (
            SELECT CASE WHEN indisvalid AND indisready AND indislive THEN 'present' ELSE 'invalid' END
            FROM pg_index WHERE indexrelid = to_regclass(%(name)s)
        )
        WHEN 'constraint' THEN (
            SELECT CASE WHEN convalidated THEN 'present' ELSE 'invalid' END
            FROM pg_constraint WHERE conrelid = to_regclass(%(relation)s) AND conname = %(name)s
        )
        WHEN 'trigger' THEN (
            SELECT CASE WHEN tgenabled IN ('O', 'A') THEN 'present' ELSE 'invalid' END
            FROM pg_trigger WHERE tgrelid = to_regclass(%(relation)s) AND tgname = %(name)s
        )
    END,
    'missing'
) AS state

-- name: outlast_autovacuum
-- Lets this session wait for a lock longer than deadlock_timeout: PostgreSQL cancels an autovacuum that somebody has waited
-- for so long, unless it prevents transaction id wraparound. Reads pg_settings only.
SELECT set_config('lock_timeout', (setting::bigint + 1000)::text, %(in_transaction)s)
FROM pg_settings
WHERE name = 'deadlock_timeout'

-- name: stall_probe_control
-- Reads no table: its time depends on the machine, not on locks.
SELECT 1

-- name: stall_probe_read
-- Reads one row of a live table as the application does: queues behind a waiting ACCESS EXCLUSIVE.
SELECT 1 FROM {table} LIMIT 1
