"""The indexes on live tables, built concurrently."""

from knowledge_migration.engine.schema.upgrade import in_direction

revision = "0005_indexes"
down_revision = "0004_references"
upgrade = in_direction(revision, "up")
downgrade = in_direction(revision, "down")
