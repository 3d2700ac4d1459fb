-- The revision that our own version table records. Only asked when that table exists.
SELECT version_num AS revision FROM migration.alembic_version
