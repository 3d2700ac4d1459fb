"""The foreign keys to and from live tables, NOT VALID."""

from alembic import context

revision = "0004_references"
down_revision = "0003_link_columns"


def upgrade() -> None:
    """Runs the revision's steps in order."""
    context.config.attributes["run_revision"](revision, "up")


def downgrade() -> None:
    """Runs the reversals in opposite order."""
    context.config.attributes["run_revision"](revision, "down")
