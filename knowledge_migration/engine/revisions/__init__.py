"""The Alembic environment of the schema phase; its version table is `migration.alembic_version`, never the application's."""
