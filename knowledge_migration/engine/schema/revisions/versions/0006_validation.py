"""Validates the foreign keys while reads and writes go on."""

from alembic import context

revision = "0006_validation"
down_revision = "0005_indexes"


def upgrade() -> None:
    """Runs the revision's steps in order."""
    context.config.attributes["run_revision"](revision, "up")


def downgrade() -> None:
    """Runs the reversals in opposite order."""
    context.config.attributes["run_revision"](revision, "down")
