-- The primary key of each given table, in its order, and the columns that only the server may write.
-- Catalog only; takes no lock.
SELECT
    namespace.nspname AS schema,
    class.relname AS table,
    coalesce(
        (
            SELECT array_agg(attribute.attname::text ORDER BY member.place)
            FROM pg_index AS index
            CROSS JOIN LATERAL unnest(index.indkey::int2[]) WITH ORDINALITY AS member (attnum, place)
            JOIN pg_attribute AS attribute
                ON attribute.attrelid = index.indrelid AND attribute.attnum = member.attnum
            WHERE index.indrelid = class.oid AND index.indisprimary AND member.place <= index.indnkeyatts
        ),
        ARRAY[]::text[]
    ) AS key,
    coalesce(
        (
            SELECT array_agg(attribute.attname::text)
            FROM pg_attribute AS attribute
            WHERE attribute.attrelid = class.oid AND attribute.attgenerated <> ''
        ),
        ARRAY[]::text[]
    ) AS generated
FROM unnest(%(schemas)s::text[], %(tables)s::text[]) AS wanted (schema, name)
JOIN pg_namespace AS namespace ON namespace.nspname = wanted.schema
JOIN pg_class AS class ON class.relnamespace = namespace.oid AND class.relname = wanted.name;
