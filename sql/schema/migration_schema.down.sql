-- Drops our own schema once its revisions are reverted. No CASCADE: what somebody else keeps in it stops this.
DROP TABLE IF EXISTS migration.alembic_version;
DROP TABLE migration.schema_object;
DROP FUNCTION IF EXISTS migration.refuse_while_leaving();
DROP SCHEMA migration;
