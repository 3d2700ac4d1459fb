"""The tables of the proposal workflow, without references to live tables."""

from alembic import context

revision = "0002_proposal_tables"
down_revision = "0001_evidence"


def upgrade() -> None:
    """Runs the revision's steps in order."""
    context.config.attributes["run_revision"](revision, "up")


def downgrade() -> None:
    """Runs the reversals in opposite order."""
    context.config.attributes["run_revision"](revision, "down")
