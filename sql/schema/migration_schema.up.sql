-- A schema of our own for the evidence, so that dropping it leaves the application untouched. It holds Alembic's version
-- table too, and what this migration has made, so it stands before the first revision. A schema that was made for us is
-- taken as it is. Locks nothing of the user's.
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
