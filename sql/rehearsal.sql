-- name: functions
-- The user's functions in SQL and PL/pgSQL that use the given tables: by a row type, by a name in the body, or as the catalog
-- records it. `definition` creates a function in SQL again, which validates its body; `call` is a query of a function that
-- returns rows or takes one of these rows, with that row, and NULL for its other arguments. Reads the catalog.
WITH used AS MATERIALIZED (
    SELECT class.oid, class.relname, class.reltype, type.typarray
    FROM pg_class AS class
    JOIN pg_type AS type ON type.oid = class.reltype
    WHERE class.oid = ANY (%(tables)s::regclass[]::oid[])
), functions AS (
    SELECT function.*, language.lanname, result.typtype,
           EXISTS (SELECT FROM used WHERE used.reltype = ANY (function.proargtypes::oid[])) AS takes_a_row
    FROM pg_proc AS function
    JOIN pg_language AS language ON language.oid = function.prolang AND language.lanname IN ('sql', 'plpgsql')
    JOIN pg_type AS result ON result.oid = function.prorettype
    WHERE function.prokind IN ('f', 'p')
      AND function.pronamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema', %(own_schema)s)
      AND NOT EXISTS (
          SELECT FROM pg_depend AS owned
          WHERE owned.classid = 'pg_proc'::regclass AND owned.objid = function.oid AND owned.deptype = 'e'
      )
      AND EXISTS (
          SELECT FROM used
          WHERE function.prosrc ~* ('\m' || used.relname || '\M')
             OR ARRAY[used.reltype, used.typarray] && (
                 function.prorettype || function.proargtypes::oid[] || coalesce(function.proallargtypes, ARRAY[]::oid[])
             )
             OR EXISTS (
                 SELECT FROM pg_depend AS used_by
                 WHERE used_by.classid = 'pg_proc'::regclass AND used_by.objid = function.oid
                   AND used_by.refclassid = 'pg_class'::regclass AND used_by.refobjid = used.oid
             )
      )
)
SELECT
    functions.oid::regprocedure::text AS name,
    CASE WHEN functions.lanname = 'sql' THEN pg_get_functiondef(functions.oid) END AS definition,
    CASE WHEN functions.prokind = 'f' AND (functions.proretset OR functions.typtype = 'c' OR functions.takes_a_row)
        THEN format('SELECT * FROM %%s(%%s) LIMIT 1', functions.oid::regproc, (
            SELECT string_agg(
                CASE WHEN used.oid IS NOT NULL THEN format('(SELECT one FROM %%s AS one LIMIT 1)', used.oid::regclass)
                    ELSE format('%%sNULL::%%s',
                        CASE WHEN functions.provariadic <> 0 AND argument.place = functions.pronargs THEN 'VARIADIC ' END,
                        format_type(argument.type, NULL))
                END, ', ' ORDER BY argument.place)
            FROM unnest(functions.proargtypes::oid[]) WITH ORDINALITY AS argument (type, place)
            LEFT JOIN used ON used.reltype = argument.type
            WHERE argument.place <= functions.pronargs - functions.pronargdefaults
        )) END AS call
FROM functions
ORDER BY 1

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

-- name: copy_into
-- Stores rows of the sample, before the table has indexes, constraints and triggers.
COPY {table} ({columns}) FROM STDIN

-- name: copy_rows
-- The rows of one table for the sample, in the reader's snapshot. Reads the whole table once.
COPY (SELECT {columns} FROM {table} WHERE {sampled}) TO STDOUT

-- name: delete_orphans
-- Deletes rows of the sample whose referenced row is not in it.
DELETE FROM {table} AS child
WHERE ROW({child}) IS NOT NULL AND NOT EXISTS (SELECT FROM {referenced} AS parent WHERE ROW({parent}) = ROW({child}))

-- name: rewrite_delete
-- Deletes one row, in a transaction that is rolled back.
DELETE FROM {table} WHERE ctid = (SELECT ctid FROM {table} LIMIT 1)

-- name: rewrite_insert
-- Deletes one row and inserts it again, in a transaction that is rolled back.
WITH gone AS (
    DELETE FROM {table} WHERE ctid = (SELECT ctid FROM {table} LIMIT 1) RETURNING {columns}
)
INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM gone

-- name: rewrite_update
-- Updates one row to its own values, in a transaction that is rolled back.
UPDATE {table} SET {column} = {column} WHERE ctid = (SELECT ctid FROM {table} LIMIT 1)

-- name: triggered_tables
-- The user's tables with triggers, other than the given ones, with their columns that can be written: all, and the first that
-- is no identity. Reads the catalog.
SELECT
    class.oid::regclass::text AS table,
    string_agg(quote_ident(attribute.attname), ', ' ORDER BY attribute.attnum) AS columns,
    quote_ident((array_agg(attribute.attname ORDER BY attribute.attidentity, attribute.attnum))[1]) AS column
FROM pg_class AS class
JOIN pg_attribute AS attribute ON attribute.attrelid = class.oid
WHERE class.relkind IN ('r', 'p') AND class.relnamespace::regnamespace::text <> %(own_schema)s
  AND class.oid <> ALL (%(tables)s::regclass[]::oid[])
  AND attribute.attnum > 0 AND NOT attribute.attisdropped AND attribute.attgenerated = ''
  AND EXISTS (
      SELECT FROM pg_trigger AS trigger
      WHERE trigger.tgrelid = class.oid AND NOT trigger.tgisinternal AND trigger.tgenabled <> 'D'
  )
GROUP BY class.oid
ORDER BY 1

-- name: sampled
-- The condition of a sample: a hash, of {values} or of the place of the row where these are null, below a limit of 2^20.
(hashtextextended(CASE WHEN ROW({values}) IS NULL THEN ctid::text ELSE ROW({values})::text END, 0) & 1048575) < {limit}

-- name: table_sizes
-- The bytes of tables with their indexes and partitions, by label. Catalog only; the size functions hold ACCESS SHARE for an instant.
SELECT named.label, size.bytes::bigint AS bytes
FROM (
    SELECT class.oid, CASE WHEN namespace.nspname = 'public' THEN '' ELSE namespace.nspname || '.' END || class.relname AS label
    FROM pg_class AS class
    JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
    WHERE class.relkind IN ('r', 'p')
) AS named
CROSS JOIN LATERAL (
    SELECT sum(pg_total_relation_size(member.relid)) AS bytes
    FROM (SELECT named.oid::regclass AS relid UNION SELECT relid FROM pg_partition_tree(named.oid)) AS member
) AS size
WHERE named.label = ANY (%(tables)s)

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

-- name: try_settings
-- Validates the bodies of functions, whatever the database says, and bounds each statement.
SELECT set_config('check_function_bodies', 'on', true), set_config('statement_timeout', '60s', true)

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
