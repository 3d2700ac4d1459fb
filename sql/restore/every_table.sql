-- Every table of the application with rows of its own: all but the server's, the migration's and those of extensions; a
-- partitioned table stands for its partitions. Without the version table of the application's schema changes, which says
-- what the restored schema is and must not be carried over. Catalog only; takes no lock.
SELECT format('%%I.%%I', namespace.nspname, class.relname) AS name
FROM pg_class AS class
JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
WHERE class.relkind IN ('r', 'p')
    AND class.relpersistence = 'p'
    AND NOT class.relispartition
    AND namespace.nspname !~ '^pg_'
    AND namespace.nspname <> 'information_schema'
    AND namespace.nspname <> %(own_schema)s
    AND NOT (namespace.nspname = 'public' AND class.relname = ANY (%(own_tables)s))
    AND class.relname <> 'alembic_version'
    AND NOT EXISTS (
        SELECT FROM pg_depend
        WHERE pg_depend.classid = 'pg_class'::regclass AND pg_depend.objid = class.oid AND pg_depend.deptype = 'e'
    )
ORDER BY 1;
