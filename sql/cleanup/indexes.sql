-- Every index of the ordinary tables in public: size, use, what it is for, and what tells whether another makes it redundant.
-- Reads the catalog and the statistics. Scans on a replica are counted there, not here.
SELECT
    relation.relname AS table, class.relname AS index, access.amname AS method,
    pg_get_indexdef(index.indexrelid) AS definition,
    pg_relation_size(index.indexrelid) AS bytes,
    coalesce(used.idx_scan, 0) AS scans,
    index.indisunique AS is_unique,
    index.indisprimary AS is_primary,
    index.indisvalid AND index.indisready AND index.indislive AS is_valid,
    index.indisreplident OR index.indisclustered AS is_marked,
    (SELECT backed.conname FROM pg_constraint AS backed
     WHERE backed.conindid = index.indexrelid AND backed.conrelid = index.indrelid LIMIT 1) AS backs_constraint,
    class.relispartition OR relation.relkind = 'p' AS is_partitioned,
    array(
        SELECT concat_ws(
            ' ', pg_get_indexdef(index.indexrelid, place, true), index.indclass[place - 1]::text,
            index.indcollation[place - 1]::text, index.indoption[place - 1]::text
        )
        FROM generate_series(1, index.indnkeyatts) AS place ORDER BY place
    ) AS keys,
    array(
        SELECT pg_get_indexdef(index.indexrelid, place, true)
        FROM generate_series(index.indnkeyatts + 1, index.indnatts) AS place ORDER BY place
    ) AS included,
    coalesce(pg_get_expr(index.indpred, index.indrelid), '') AS condition
FROM pg_index AS index
JOIN pg_class AS class ON class.oid = index.indexrelid
JOIN pg_class AS relation ON relation.oid = index.indrelid
JOIN pg_am AS access ON access.oid = class.relam
LEFT JOIN pg_stat_all_indexes AS used ON used.indexrelid = index.indexrelid
WHERE relation.relnamespace = 'public'::regnamespace AND relation.relkind IN ('r', 'p')
ORDER BY relation.relname, class.relname
