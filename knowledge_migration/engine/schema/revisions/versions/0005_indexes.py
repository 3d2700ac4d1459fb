"""The indexes on live tables, built concurrently."""

from alembic import context

revision = "0005_indexes"
down_revision = "0004_references"


def upgrade() -> None:
    """Runs the revision's steps in order."""
    context.config.attributes["run_revision"](revision, "up")


def downgrade() -> None:
    """Runs the reversals in opposite order."""
    context.config.attributes["run_revision"](revision, "down")
