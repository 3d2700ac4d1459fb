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
