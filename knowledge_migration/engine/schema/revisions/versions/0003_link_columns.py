"""The link and its timestamp on topics and atoms."""

from alembic import context

revision = "0003_link_columns"
down_revision = "0002_proposal_tables"


def upgrade() -> None:
    """Runs the revision's steps in order."""
    context.config.attributes["run_revision"](revision, "up")


def downgrade() -> None:
    """Runs the reversals in opposite order."""
    context.config.attributes["run_revision"](revision, "down")
