"""The foreign keys to and from live tables, NOT VALID."""

from knowledge_migration.engine.schema.upgrade import in_direction

revision = "0004_references"
down_revision = "0003_link_columns"
upgrade = in_direction(revision, "up")
downgrade = in_direction(revision, "down")
