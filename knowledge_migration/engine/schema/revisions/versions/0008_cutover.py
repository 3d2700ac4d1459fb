"""What the cutover needs: the service's measurements, and the archive of old extractions."""

from alembic import context

revision = "0008_cutover"
down_revision = "0007_service"


def upgrade() -> None:
    """Runs the revision's steps in order."""
    context.config.attributes["run_revision"](revision, "up")


def downgrade() -> None:
    """Runs the reversals in opposite order."""
    context.config.attributes["run_revision"](revision, "down")
