"""The Alembic environment of the schema phase; its version table is its own, `migration.alembic_version`."""
