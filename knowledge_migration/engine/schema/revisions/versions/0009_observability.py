"""The metrics over time, from which trends are drawn."""

from alembic import context

revision = "0009_observability"
down_revision = "0008_cutover"


def upgrade() -> None:
    """Runs the revision's steps in order."""
    context.config.attributes["run_revision"](revision, "up")


def downgrade() -> None:
    """Runs the reversals in opposite order."""
    context.config.attributes["run_revision"](revision, "down")
