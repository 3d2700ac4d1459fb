-- What the catalog says of one object of ours: 'missing', 'invalid' (an index whose build broke off, a constraint that is
-- not validated) or 'present'. Reads the catalog only.
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
    END,
    'missing'
) AS state
