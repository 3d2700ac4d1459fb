"""Schema `migration`: evidence, audit log, ledger, quarantine, gates, heartbeats."""

from knowledge_migration.engine.schema.upgrade import in_direction

revision = "0001_evidence"
down_revision = None
upgrade = in_direction(revision, "up")
downgrade = in_direction(revision, "down")
