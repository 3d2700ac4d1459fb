-- What belongs to a database and is not in its dump, as the statements that give it to another: owner, rights, connection
-- limit, comment, and the settings of the database, for everybody and by role. A setting that is a list is written as it
-- stands, because it is quoted already. Catalog only; takes no lock.
WITH source AS (
    SELECT * FROM pg_database WHERE datname = %(source)s
)
SELECT 1 AS step, format('ALTER DATABASE %%I OWNER TO %%I', %(target)s::text, pg_get_userbyid(datdba)) AS statement FROM source
UNION ALL
SELECT 2, format('ALTER DATABASE %%I CONNECTION LIMIT %%s', %(target)s::text, datconnlimit) FROM source
UNION ALL
SELECT 3, format('COMMENT ON DATABASE %%I IS %%L', %(target)s::text, comment.text)
FROM source
CROSS JOIN LATERAL (SELECT shobj_description(source.oid, 'pg_database') AS text) AS comment
WHERE comment.text IS NOT NULL
UNION ALL
SELECT 4, format('REVOKE ALL ON DATABASE %%I FROM PUBLIC', %(target)s::text) FROM source WHERE datacl IS NOT NULL
UNION ALL
SELECT
    5,
    format(
        'GRANT %%s ON DATABASE %%I TO %%s%%s',
        granted.privilege_type,
        %(target)s::text,
        CASE granted.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(granted.grantee)) END,
        CASE WHEN granted.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
    )
FROM source
CROSS JOIN LATERAL aclexplode(source.datacl) AS granted
WHERE granted.grantee <> source.datdba
UNION ALL
SELECT
    6,
    format(
        CASE WHEN setting.setrole = 0 THEN 'ALTER DATABASE %%2$I SET %%3$I TO %%4$s'
             ELSE 'ALTER ROLE %%1$I IN DATABASE %%2$I SET %%3$I TO %%4$s' END,
        pg_get_userbyid(setting.setrole),
        %(target)s::text,
        split_part(one.line, '=', 1),
        CASE
            WHEN lower(split_part(one.line, '=', 1)) IN (
                'local_preload_libraries', 'search_path', 'session_preload_libraries', 'temp_tablespaces'
            )
                THEN coalesce(nullif(substr(one.line, strpos(one.line, '=') + 1), ''), quote_literal(''))
            ELSE quote_literal(substr(one.line, strpos(one.line, '=') + 1))
        END
    )
FROM source
JOIN pg_db_role_setting AS setting ON setting.setdatabase = source.oid
CROSS JOIN LATERAL unnest(setting.setconfig) AS one (line)
ORDER BY 1;
