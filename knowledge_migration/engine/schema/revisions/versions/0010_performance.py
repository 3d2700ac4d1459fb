"""What the lists of proposals by age need to stay fast: their indexes, built concurrently."""

from alembic import context

revision = "0010_performance"
down_revision = "0009_observability"


def upgrade() -> None:
    """Runs the revision's steps in order."""
    context.config.attributes["run_revision"](revision, "up")


def downgrade() -> None:
    """Runs the reversals in opposite order."""
    context.config.attributes["run_revision"](revision, "down")
