-- Whether this role may make, rename and give away a database like this one, and who owns it. Takes no lock.
SELECT
    role.rolsuper OR (role.rolcreatedb AND pg_has_role(pg_database.datdba, 'USAGE')) AS may_swap,
    role.rolname AS role,
    owner.rolname AS owner
FROM pg_database
JOIN pg_roles AS owner ON owner.oid = pg_database.datdba
JOIN pg_roles AS role ON role.rolname = current_user
WHERE pg_database.datname = %(database)s;
