-- name: up
-- The migration's own schema: dropping it does not affect the application. It also holds Alembic's version table and the
-- ledger of the objects that this migration has created, so it precedes the first revision. An empty schema that somebody
-- created for us is used. Locks nothing of the user's.
DO $$
BEGIN
    IF to_regnamespace('migration') IS NULL THEN
        CREATE SCHEMA migration;
    END IF;
END
$$;
CREATE TABLE migration.schema_object (
    name text PRIMARY KEY,
    made_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- name: down
-- Drops the schema after its revisions are reverted. No CASCADE: an object of somebody else in it is an error.
DROP TABLE IF EXISTS migration.alembic_version;
DROP TABLE migration.schema_object;
DROP FUNCTION IF EXISTS migration.refuse_while_leaving();
DROP SCHEMA migration;
