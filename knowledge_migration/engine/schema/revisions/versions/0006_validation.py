"""Validates the foreign keys while reads and writes continue."""

from knowledge_migration.engine.schema.upgrade import in_direction

revision = "0006_validation"
down_revision = "0005_indexes"
upgrade = in_direction(revision, "up")
downgrade = in_direction(revision, "down")
