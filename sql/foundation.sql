-- name: advisory_lock
-- Takes the advisory lock of one piece of work, for this session. Locks nothing of the user's.
SELECT CASE
    WHEN %(shared)s THEN pg_try_advisory_lock_shared(hashtextextended('knowledge_migration:' || %(work)s, 0))
    ELSE pg_try_advisory_lock(hashtextextended('knowledge_migration:' || %(work)s, 0))
END AS acquired

-- name: advisory_lock_holder
-- The holder of the advisory lock of one piece of work. Reads pg_locks and pg_stat_activity.
SELECT activity.pid, activity.application_name AS application, activity.backend_start AS since
FROM pg_locks AS held
JOIN pg_stat_activity AS activity ON activity.pid = held.pid
WHERE held.locktype = 'advisory'
  AND held.granted
  AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND held.objsubid = 1 AND ((held.classid::bigint << 32) | held.objid::bigint) = hashtextextended('knowledge_migration:' || %(work)s, 0)

-- name: advisory_unlock
-- Releases the lock of advisory_lock.
SELECT CASE
    WHEN %(shared)s THEN pg_advisory_unlock_shared(hashtextextended('knowledge_migration:' || %(work)s, 0))
    ELSE pg_advisory_unlock(hashtextextended('knowledge_migration:' || %(work)s, 0))
END

-- name: audit
-- Writes one entry of the audit log, in the transaction of the change.
INSERT INTO migration.audit_log (actor, action, subject, before, after, reason, dagster_run_id)
VALUES (%(actor)s, %(action)s, %(subject)s, %(before)s, %(after)s, %(reason)s, %(dagster_run_id)s)

-- name: audit_lock
-- Waits for the writers of the audit log, and lets new ones wait until the transaction ends: then every entry below the
-- highest id is there.
LOCK TABLE migration.audit_log IN SHARE MODE

-- name: audit_seal
-- Seals the entries since the last seal, if there are any, in the transaction that holds the lock. Relies on evidence_by_kind.
INSERT INTO migration.evidence (kind, content)
SELECT 'audit_seal', jsonb_build_object(
    'above_id', last.through_id, 'through_id', new.through_id, 'entries', new.entries, 'previous', last.hash,
    'hash', migration.audit_chain(last.hash, last.through_id, new.through_id)
)
FROM (SELECT) AS one
LEFT JOIN LATERAL (
    SELECT (content ->> 'through_id')::bigint AS through_id, content ->> 'hash' AS hash
    FROM migration.evidence
    WHERE kind = 'audit_seal' AND database = migration.this_database()
    ORDER BY id DESC
    LIMIT 1
) AS known ON true
CROSS JOIN LATERAL (SELECT coalesce(known.through_id, 0) AS through_id, coalesce(known.hash, '') AS hash) AS last
CROSS JOIN LATERAL (
    SELECT max(id) AS through_id, count(*) AS entries FROM migration.audit_log WHERE id > last.through_id
) AS new
WHERE new.entries > 0

-- name: capture_triggers
-- The triggers of the capture that this migration has created: valid, or not enforced because one is disabled or gone. None
-- where the capture is not installed. Reads the catalog and a small table of our own.
SELECT split_part(made.name, '.', 2) AS table, split_part(made.name, '.', 3) AS name,
       CASE WHEN trigger.tgenabled IN ('O', 'A') THEN 'valid' ELSE 'not enforced: the trigger is disabled or gone' END AS state
FROM migration.schema_object AS made
LEFT JOIN pg_trigger AS trigger
    ON trigger.tgrelid = to_regclass('public.' || split_part(made.name, '.', 2)) AND trigger.tgname = split_part(made.name, '.', 3)
WHERE starts_with(split_part(made.name, '.', 3), 'knowledge_migration_')

-- name: catalog_validity
-- Every index, check and foreign key of these tables, and the trigger of the audit log: valid, invalid (an interrupted build),
-- not validated, or not enforced because a trigger is disabled or gone. Reads the catalog only.
SELECT needed.name AS table, class.relname AS name,
       CASE WHEN index.indisvalid AND index.indisready AND index.indislive THEN 'valid' ELSE 'invalid' END AS state
FROM unnest(%(tables)s::text[]) AS needed (name)
JOIN pg_index AS index ON index.indrelid = to_regclass('public.' || needed.name)
JOIN pg_class AS class ON class.oid = index.indexrelid
UNION ALL
SELECT needed.name, constraint_.conname,
       CASE
           WHEN NOT constraint_.convalidated THEN 'not validated'
           WHEN EXISTS (
               SELECT FROM pg_trigger AS trigger
               WHERE trigger.tgconstraint = constraint_.oid AND trigger.tgenabled NOT IN ('O', 'A')
           ) THEN 'not enforced: its triggers are disabled'
           ELSE 'valid'
       END
FROM unnest(%(tables)s::text[]) AS needed (name)
JOIN pg_constraint AS constraint_ ON constraint_.conrelid = to_regclass('public.' || needed.name)
WHERE constraint_.contype IN ('f', 'c')
UNION ALL
SELECT own.name, own.trigger,
       CASE WHEN trigger.tgenabled IN ('O', 'A') THEN 'valid' ELSE 'not enforced: the trigger is disabled or gone' END
FROM (VALUES
    ('migration.audit_log', 'audit_log_is_append_only'),
    ('feature_flags', 'every_flag_change_has_a_version')
) AS own (name, trigger)
LEFT JOIN pg_trigger AS trigger ON trigger.tgrelid = to_regclass(own.name) AND trigger.tgname = own.trigger
WHERE to_regclass(own.name) IS NOT NULL

-- name: check_record
-- Records the evaluation of a check, in place of the one before.
INSERT INTO migration.check_record AS known (asset, name, passed, warns, message, dagster_run_id)
VALUES (%(asset)s, %(name)s, %(passed)s, %(warns)s, %(message)s, %(dagster_run_id)s)
ON CONFLICT (asset, name) DO UPDATE
SET at = clock_timestamp(), passed = excluded.passed, warns = excluded.warns, message = excluded.message,
    database = excluded.database, dagster_run_id = excluded.dagster_run_id

-- name: check_records
-- The latest evaluation of every check on this database; a copy of another one has the records of that one, too.
SELECT asset, name, at, passed, warns, message
FROM migration.check_record
WHERE database = migration.this_database()
ORDER BY asset, name

-- name: count_and_sample
-- Wraps a rule: the exact count of what it returns and a bounded sample, from one execution. Always at least one row of
-- the sample: it carries the count.
WITH offending AS MATERIALIZED (
    {rule}
)
SELECT count(*) OVER () AS offending_rows, offending.*
FROM offending
LIMIT greatest({sample}, 1)

-- name: evidence_latest
-- The newest measurement of a kind of this database, and its age in seconds. Relies on evidence_by_kind.
SELECT recorded_at, content, extract(epoch FROM clock_timestamp() - recorded_at)::double precision AS age_seconds
FROM migration.evidence
WHERE kind = %(kind)s AND database = migration.this_database()
ORDER BY id DESC
LIMIT 1

-- name: evidence_of_another
-- The name of another database whose measurement of a kind is recorded here: this one is a copy. Relies on evidence_by_kind.
SELECT database_name FROM migration.evidence WHERE kind = %(kind)s ORDER BY id DESC LIMIT 1

-- name: evidence_record
-- Records one measurement.
INSERT INTO migration.evidence (kind, content, plan_hash, dagster_run_id)
VALUES (%(kind)s, %(content)s, %(plan_hash)s, %(dagster_run_id)s)

-- name: fingerprint_columns
-- The columns of the given tables, how each is hashed, and each table's key: the first integer column of the primary key.
--
-- 'itself' only for types whose equality is identity of bytes. A default hash operator class is not enough: numeric 1.0
-- and 1.00, interval '1 day' and '24 hours', float8 0.0 and -0.0, citext and text under a nondeterministic collation hash
-- alike though they differ; so do bigint -1 and 4294967295, because 8-byte integers and times are folded to 32 bits; and
-- an enum or a regclass hashes by an oid that is another one after a restore.
-- 'send' is the type's binary form: exact, and for pgvector four times faster than its text (20,000 vectors of 1,536
-- dimensions: 203 ms and 845 ms). Everything else goes through its text, which pg_dump restores exactly.
-- Materialized, so that the key is read once per table, not once per column: 1,000 columns took 6.5 s without it.
-- Catalog only; takes no lock.
WITH wanted_tables AS MATERIALIZED (
    SELECT
        class.oid,
        namespace.nspname AS schema,
        class.relname AS name,
        (
            SELECT key_attribute.attname
            FROM pg_index AS index
            CROSS JOIN LATERAL unnest(index.indkey::int2[]) WITH ORDINALITY AS member (attnum, place)
            JOIN pg_attribute AS key_attribute
                ON key_attribute.attrelid = index.indrelid AND key_attribute.attnum = member.attnum
            WHERE index.indrelid = class.oid
                AND index.indisprimary
                AND member.place <= index.indnkeyatts
                AND key_attribute.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
            ORDER BY member.place
            LIMIT 1
        ) AS key,
        wanted.place
    FROM unnest(%(schemas)s::text[], %(tables)s::text[]) WITH ORDINALITY AS wanted (schema, name, place)
    JOIN pg_namespace AS namespace ON namespace.nspname = wanted.schema
    JOIN pg_class AS class
        ON class.relnamespace = namespace.oid AND class.relname = wanted.name AND class.relkind IN ('r', 'p')
)
SELECT
    wanted_tables.schema,
    wanted_tables.name AS table,
    wanted_tables.key,
    attribute.attname AS name,
    format_type(attribute.atttypid, attribute.atttypmod) AS type,
    CASE
        WHEN type.typnamespace = 'pg_catalog'::regnamespace
            AND type.typname IN (
                'bool', 'int2', 'int4', 'oid', 'char', 'date', 'text', 'varchar', 'bytea', 'uuid'
            )
            AND coalesce(pg_collation.collisdeterministic, true)
            THEN 'itself'
        WHEN type.typnamespace = 'pg_catalog'::regnamespace
            AND type.typname IN (
                'int8', 'time', 'timestamp', 'timestamptz', 'interval', 'float4', 'float8', 'numeric', 'bpchar'
            )
            THEN 'send'
        WHEN type.typname IN ('vector', 'halfvec', 'sparsevec') AND extension.extname = 'vector' THEN 'send'
        ELSE 'text'
    END AS hashed_as,
    send_namespace.nspname AS send_schema,
    send.proname AS send_function
FROM wanted_tables
JOIN pg_attribute AS attribute
    ON attribute.attrelid = wanted_tables.oid AND attribute.attnum > 0 AND NOT attribute.attisdropped
JOIN pg_type AS type ON type.oid = attribute.atttypid
LEFT JOIN pg_proc AS send ON send.oid = type.typsend
LEFT JOIN pg_namespace AS send_namespace ON send_namespace.oid = send.pronamespace
LEFT JOIN pg_collation ON pg_collation.oid = attribute.attcollation
LEFT JOIN pg_depend AS membership
    ON membership.classid = 'pg_type'::regclass
    AND membership.objid = type.oid
    AND membership.refclassid = 'pg_extension'::regclass
    AND membership.deptype = 'e'
LEFT JOIN pg_extension AS extension ON extension.oid = membership.refobjid
ORDER BY wanted_tables.place, attribute.attnum;

-- name: fingerprint_key_bounds
-- The lowest and highest key of one table, by which the width of its ranges is chosen: two probes of the primary key's
-- index where the key is its first column, a scan otherwise. Takes ACCESS SHARE.
SELECT min({key})::bigint AS lowest, max({key})::bigint AS highest FROM {table};

-- name: fingerprint_moment
-- When, and by which server, a fingerprint was taken. Takes no lock.
SELECT clock_timestamp() AS taken_at, current_setting('server_version') AS server_version;

-- name: fingerprint_ranges
-- Row count and checksum of each range of {width} keys of one table, independent of the order of rows.
--
-- The record's hash is hashed once more before it is summed. hash_record_extended alone is linear in its columns
-- (31 * h + next), so that the sum over rows does not see a value that two rows have exchanged: of 200 exchanges it
-- missed 137; hashed again, none. Hashed as bytes, because an int8 is folded to 32 bits first; and as a record of one
-- column, because the hash function of bytea can be called by name from 18 on only. It costs a fifth of the hashing
-- of 386,000 topic_atoms (88 ms and 107 ms).
-- No ORDER BY here: it would bring back the sort of whole rows that fingerprint_settings.sql keeps away (530 MB of
-- temporary files for 1,127,000 atoms).
-- One scan of the table, in parallel where it is large. Takes ACCESS SHARE.
SELECT
    CASE WHEN {key} >= 0 THEN {key}::bigint / {width} ELSE ({key}::bigint + 1) / {width} - 1 END AS range,
    count(*) AS rows,
    sum(hash_record_extended(ROW(int8send(hash_record_extended(ROW({values}), 0))), 0)) AS checksum
FROM {table}
GROUP BY 1;

-- name: fingerprint_settings
-- Fixes, for this transaction only, whatever could change how a value is written or which rows are seen:
-- row_security off makes a policy that would hide rows an error; search_path makes names of types and of regclass values
-- come out qualified. enable_sort off because the planner cannot know how few key ranges there are and would sort whole
-- rows: 1,127,000 atoms took 1,440 ms with the sort and 505 ms with the hash (PostgreSQL 18, 2 cores). jit off because
-- compiling each table's expression costs more than it gains: 0.80 s and 0.43 s for 791,000 rows (PostgreSQL 15).
SELECT
    set_config('DateStyle', 'ISO, YMD', true),
    set_config('IntervalStyle', 'postgres', true),
    set_config('TimeZone', 'UTC', true),
    set_config('extra_float_digits', '1', true),
    set_config('bytea_output', 'hex', true),
    set_config('lc_monetary', 'C', true),
    set_config('row_security', 'off', true),
    set_config('search_path', 'pg_catalog', true),
    set_config('statement_timeout', '0', true),
    set_config('enable_sort', 'off', true),
    set_config('jit', 'off', true);

-- name: fingerprint_transaction
-- Gives a transaction that has read nothing yet one snapshot for all its statements. Takes no lock.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;

-- name: fingerprint_whole
-- Row count and checksum of one table without an integer key, as fingerprint_ranges.sql takes them of each range.
-- One scan of the table, in parallel where it is large. Takes ACCESS SHARE.
SELECT
    count(*) AS rows,
    coalesce(sum(hash_record_extended(ROW(int8send(hash_record_extended(ROW({values}), 0))), 0)), 0) AS checksum
FROM {table};

-- name: foreign_objects
-- Objects that use a name of the migration without being in `made`, the objects that it has created. Objects in schema
-- `migration` are foreign while our ledger does not exist. Reads the catalog only.
SELECT candidate.object, candidate.kind
FROM (
    SELECT 'public.' || class.relname AS object, class.relkind::text AS kind, 'public.' || class.relname AS made_with
    FROM pg_class AS class
    WHERE class.relnamespace = to_regnamespace('public')
      AND class.relname IN (
          'knowledge_extraction_runs', 'topic_proposals', 'atom_proposals', 'feature_flags',
          'knowledge_extraction_archive',
          'idx_topics_migration', 'idx_atoms_migration', 'idx_topic_atoms_atom'
      )
    UNION ALL
    SELECT 'public.' || class.relname || '.' || attribute.attname, 'column',
           'public.' || class.relname || '.migrated_from_proposal_id'
    FROM pg_attribute AS attribute
    JOIN pg_class AS class ON class.oid = attribute.attrelid
    WHERE attribute.attrelid IN (to_regclass('public.topics'), to_regclass('public.atoms'))
      AND attribute.attname IN ('migrated_from_proposal_id', 'migration_timestamp')
      AND NOT attribute.attisdropped
    UNION ALL
    SELECT 'migration.' || class.relname, class.relkind::text, 'migration.evidence'
    FROM pg_class AS class
    WHERE class.relnamespace = to_regnamespace('migration')
      AND class.relkind IN ('r', 'v', 'm', 'p', 'f')
      AND to_regclass('migration.schema_object') IS NULL
) AS candidate
WHERE candidate.made_with <> ALL (%(made)s::text[])
ORDER BY candidate.object

-- name: inventory_columns
-- The columns of the given tables in their physical order. Catalog only; takes no lock.
SELECT
    attribute.attrelid::bigint AS oid,
    attribute.attname AS name,
    format_type(attribute.atttypid, attribute.atttypmod) AS type,
    attribute.attnotnull AS not_null,
    attribute.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) AS is_integer
FROM pg_attribute AS attribute
WHERE attribute.attrelid = ANY (%(oids)s::bigint[]::oid[])
    AND attribute.attnum > 0
    AND NOT attribute.attisdropped
ORDER BY attribute.attrelid, attribute.attnum;

-- name: inventory_foreign_keys
-- The foreign keys whose two ends are both among the given tables. Catalog only; takes no lock.
SELECT
    constraint_row.conname AS name,
    constraint_row.conrelid::bigint AS oid,
    constraint_row.confrelid::bigint AS referenced_oid,
    (
        SELECT array_agg(attribute.attname::text ORDER BY key.place)
        FROM unnest(constraint_row.conkey) WITH ORDINALITY AS key (attnum, place)
        JOIN pg_attribute AS attribute
            ON attribute.attrelid = constraint_row.conrelid AND attribute.attnum = key.attnum
    ) AS columns,
    (
        SELECT array_agg(attribute.attname::text ORDER BY key.place)
        FROM unnest(constraint_row.confkey) WITH ORDINALITY AS key (attnum, place)
        JOIN pg_attribute AS attribute
            ON attribute.attrelid = constraint_row.confrelid AND attribute.attnum = key.attnum
    ) AS referenced_columns,
    constraint_row.convalidated AS validated,
    CASE constraint_row.confdeltype
        WHEN 'a' THEN 'NO ACTION'
        WHEN 'r' THEN 'RESTRICT'
        WHEN 'c' THEN 'CASCADE'
        WHEN 'n' THEN 'SET NULL'
        WHEN 'd' THEN 'SET DEFAULT'
    END AS on_delete
FROM pg_constraint AS constraint_row
WHERE constraint_row.contype = 'f'
    AND constraint_row.conparentid = 0
    AND constraint_row.conrelid = ANY (%(oids)s::bigint[]::oid[])
    AND constraint_row.confrelid = ANY (%(oids)s::bigint[]::oid[])
ORDER BY constraint_row.conname, constraint_row.oid;

-- name: inventory_ids
-- The lowest and highest id of one table: two probes of the primary key's index where id is the key, a scan otherwise.
-- Takes ACCESS SHARE.
SELECT min(id)::bigint AS lowest_id, max(id)::bigint AS highest_id FROM {table};

-- name: inventory_rows
-- The exact number of rows of one table: a scan of the table or of its smallest index. Takes ACCESS SHARE, which only
-- a schema change of that table waits for.
SELECT count(*) AS rows FROM {table};

-- name: inventory_tables
-- The tables that foreign keys connect with the roots (topics and atoms), in both directions, through any number of steps,
-- with their sizes. Excludes tables of the migration and does not follow them. A partitioned table represents its
-- partitions; their copies of its constraints (conparentid <> 0) are ignored.
-- Catalog only; the size functions hold ACCESS SHARE on each table for an instant.
WITH RECURSIVE roots AS (
    SELECT class.oid, class.relnamespace
    FROM unnest(%(roots)s::text[]) AS root (name)
    JOIN pg_class AS class ON class.oid = to_regclass(root.name)
), own AS (
    SELECT class.oid
    FROM pg_class AS class
    JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
    WHERE namespace.nspname = %(own_schema)s
        OR (class.relname = ANY (%(own_tables)s) AND class.relnamespace IN (SELECT relnamespace FROM roots))
), edges AS (
    SELECT conrelid AS near, confrelid AS far FROM pg_constraint WHERE contype = 'f' AND conparentid = 0
    UNION
    SELECT confrelid, conrelid FROM pg_constraint WHERE contype = 'f' AND conparentid = 0
), closure AS (
    SELECT oid FROM roots
    UNION
    SELECT edges.far
    FROM closure
    JOIN edges ON edges.near = closure.oid
    WHERE edges.far NOT IN (SELECT oid FROM own)
)
SELECT
    class.oid::bigint AS oid,
    namespace.nspname AS schema,
    class.relname AS name,
    size.heap_bytes::bigint AS heap_bytes,
    size.index_bytes::bigint AS index_bytes,
    size.total_bytes::bigint AS total_bytes
FROM closure
JOIN pg_class AS class ON class.oid = closure.oid
JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
CROSS JOIN LATERAL (
    SELECT
        sum(pg_table_size(member.relid)) AS heap_bytes,
        sum(pg_indexes_size(member.relid)) AS index_bytes,
        sum(pg_total_relation_size(member.relid)) AS total_bytes
    FROM (
        SELECT class.oid::regclass AS relid
        UNION
        SELECT relid FROM pg_partition_tree(class.oid)
    ) AS member
) AS size
ORDER BY namespace.nspname, class.relname;

-- name: legacy_rows_compare
-- One range of keys against the rows of the fingerprint: the keys of those that are gone, how many differ without a later stamp,
-- with one, and are new. Reads the range by the index of the primary key. Takes ACCESS SHARE.
WITH remembered AS MATERIALIZED (
    SELECT row.key, row.hash, row.stamp
    FROM migration.legacy_rows AS kept
    CROSS JOIN LATERAL unnest(kept.keys, kept.hashes, kept.stamps) AS row (key, hash, stamp)
    WHERE kept.taken_at = %(taken_at)s AND kept.table_name = %(table_name)s AND kept.first_key = %(first_key)s
), present AS MATERIALIZED (
    SELECT {place} AS key, {hash} AS hash, {stamp} AS stamp
    FROM {table}
    WHERE {key} BETWEEN %(first_key)s AND %(last_key)s
), compared AS (
    SELECT
        key,
        remembered.hash AS hash_before,
        CASE
            WHEN remembered.hash IS NULL THEN 'added'
            WHEN present.hash IS NULL THEN 'gone'
            WHEN present.hash = remembered.hash THEN 'equal'
            WHEN present.stamp > remembered.stamp OR (present.stamp IS NOT NULL AND remembered.stamp IS NULL)
                THEN 'written since'
            ELSE 'altered'
        END AS state
    FROM remembered
    FULL JOIN present USING (key)
)
SELECT
    count(hash_before) AS remembered,
    array_agg(key ORDER BY key) FILTER (WHERE state = 'gone') AS gone,
    count(*) FILTER (WHERE state = 'altered') AS altered,
    (array_agg(key ORDER BY key) FILTER (WHERE state = 'altered'))[1:5] AS altered_keys,
    count(*) FILTER (WHERE state = 'written since') AS written_since,
    count(*) FILTER (WHERE state = 'added') AS added
FROM compared

-- name: legacy_rows_deleted
-- The keys of the rows of a table that the service deleted, as its audit entries list them. An hour before the fingerprint
-- covers transactions that were open then. Reads the entries since then.
SELECT removed.key
FROM migration.audit_log AS entry
CROSS JOIN LATERAL (
    SELECT {place} AS key
    FROM jsonb_to_recordset(entry.before -> 'removed' -> %(table_name)s) AS row ({key_columns})
) AS removed
WHERE entry.at > %(taken_at)s - interval '1 hour' AND jsonb_typeof(entry.before -> 'removed' -> %(table_name)s) = 'array'

-- name: legacy_rows_forget
-- Deletes the rows of all other fingerprints.
DELETE FROM migration.legacy_rows WHERE taken_at <> %(taken_at)s

-- name: legacy_rows_remember
-- Writes one entry per range of keys, by the index of the primary key, so that memory is that of one range. Takes ACCESS SHARE.
INSERT INTO migration.legacy_rows (taken_at, table_name, first_key, keys, hashes, stamps)
SELECT %(taken_at)s, %(table_name)s, part.first_key, taken.keys, taken.hashes, taken.stamps
FROM unnest(%(first_keys)s::bigint[], %(last_keys)s::bigint[]) AS part (first_key, last_key)
CROSS JOIN LATERAL (
    SELECT array_agg({place}) AS keys, array_agg({hash}) AS hashes, array_agg({stamp}) AS stamps
    FROM {table}
    WHERE {key} BETWEEN part.first_key AND part.last_key
) AS taken
ON CONFLICT (taken_at, table_name, first_key) DO NOTHING

-- name: moment
-- The time on the server.
SELECT clock_timestamp() AS moment

-- name: objects_made
-- The objects that this migration has created. Reads a small table of our own.
SELECT name FROM migration.schema_object

-- name: schema_revision
-- The revision that our version table records; runs only when that table exists.
SELECT version_num AS revision FROM migration.alembic_version

-- name: snapshot_export
-- Exports the snapshot of this REPEATABLE READ transaction, so that pg_dump reads the very same rows. It lives as long
-- as the transaction. Takes no lock; while it is open, vacuum keeps every row version newer than it.
SELECT pg_export_snapshot() AS snapshot_id, clock_timestamp() AS taken_at;

-- name: snapshot_join
-- Sets an exported snapshot; must be the first statement of a REPEATABLE READ transaction. Takes no lock.
SET TRANSACTION SNAPSHOT {snapshot}

-- name: snapshot_session
-- Lifts the timeouts of this one session: the dump that shares its snapshot may take hours, and a role's own timeout
-- would end the transaction under it. Read from pg_settings, so that a server without one of them (transaction_timeout
-- came with 17) is no error. Catalog only; takes no lock.
SELECT name, set_config(name, '0', false)
FROM pg_settings
WHERE name IN ('idle_in_transaction_session_timeout', 'statement_timeout', 'transaction_timeout');
