"""What the knowledge service needs of the proposal tables beyond the strategy."""

from alembic import context

revision = "0007_service"
down_revision = "0006_validation"


def upgrade() -> None:
    """Runs the revision's steps in order."""
    context.config.attributes["run_revision"](revision, "up")


def downgrade() -> None:
    """Runs the reversals in opposite order."""
    context.config.attributes["run_revision"](revision, "down")
