"""The link and its timestamp on topics and atoms."""

from knowledge_migration.engine.schema.upgrade import in_direction

revision = "0003_link_columns"
down_revision = "0002_proposal_tables"
upgrade = in_direction(revision, "up")
downgrade = in_direction(revision, "down")
