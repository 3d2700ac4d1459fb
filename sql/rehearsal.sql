-- name: fired_triggers
-- The user's triggers that an update of the two link columns of a table fires, with their functions. Reads the catalog.
SELECT trigger.tgname AS name, trigger.tgfoid::regproc::text AS function
FROM pg_trigger AS trigger
WHERE trigger.tgrelid = %(table)s::regclass AND NOT trigger.tgisinternal AND trigger.tgenabled <> 'D'
  AND trigger.tgtype & 16 > 0 AND cardinality(trigger.tgattr::int2[]) = 0
ORDER BY trigger.tgname

-- name: messages
-- The next messages of the clone to extract from. Uses the primary key.
SELECT id, author_id FROM public.messages ORDER BY id OFFSET %(skipped)s LIMIT %(rows)s

-- name: park
-- Parks, on a clone, the pending proposals of proposal mode, so that a rollback has nothing to replay.
UPDATE {proposals} AS proposal SET status = 'parked'
FROM public.knowledge_extraction_runs AS run
WHERE run.id = proposal.extraction_run_id AND proposal.status = 'pending' AND run.settings ->> 'mode' = 'proposal'
RETURNING proposal.id

-- name: unpark
-- Makes, on a clone, parked proposals pending again.
UPDATE {proposals} SET status = 'pending' WHERE id = ANY (%(ids)s) AND status = 'parked'

-- name: copied_columns
-- The columns of a table that an insert states: all but the key, generated ones and those of the migration. Reads the catalog.
SELECT attname AS name
FROM pg_attribute
WHERE attrelid = %(table)s::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
  AND attname NOT IN ('id', 'migrated_from_proposal_id', 'migration_timestamp')
ORDER BY attnum

-- name: tried_rows
-- The first rows of a table. Uses the primary key.
SELECT id FROM {table} ORDER BY id LIMIT {rows}

-- name: try_delete
-- Deletes one row, in a transaction that is rolled back.
DELETE FROM {table} WHERE id = %(id)s

-- name: try_insert
-- Inserts a copy of one row under another label, in a transaction that is rolled back.
INSERT INTO {table} ({label}, {others})
SELECT {label} || ' (a rehearsal ' || md5(random()::text) || ')', {others} FROM {table} WHERE id = %(id)s

-- name: try_update
-- Updates one row to its own values, in a transaction that is rolled back.
UPDATE {table} SET {label} = {label} WHERE id = %(id)s

-- name: views
-- The views and materialized views over the given tables. Reads the catalog.
SELECT DISTINCT view.oid::regclass::text AS name
FROM pg_depend AS used
JOIN pg_rewrite AS rule ON rule.oid = used.objid AND used.classid = 'pg_rewrite'::regclass
JOIN pg_class AS view ON view.oid = rule.ev_class AND view.relkind IN ('v', 'm')
WHERE used.refclassid = 'pg_class'::regclass AND used.refobjid = ANY (%(tables)s::regclass[]::oid[])
ORDER BY 1

-- name: written_rows
-- Rows inserted, updated and deleted in each table since the clone exists, by the server's counters.
SELECT schemaname || '.' || relname AS name, n_tup_ins + n_tup_upd + n_tup_del AS rows
FROM pg_stat_user_tables
WHERE schemaname <> %(own_schema)s
ORDER BY 1
