-- The tables that foreign keys tie to the roots (topics and atoms), in both directions, through any number of steps,
-- with their sizes. Tables of the migration itself neither appear nor lead further. A partitioned table stands for its
-- partitions, whose own copies of its constraints (conparentid <> 0) lead nowhere.
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
