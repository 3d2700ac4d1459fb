"""The tables of the proposal workflow and of its service, without references to live tables."""

from knowledge_migration.engine.schema.upgrade import in_direction

revision = "0002_proposal_tables"
down_revision = "0001_evidence"
upgrade = in_direction(revision, "up")
downgrade = in_direction(revision, "down")
