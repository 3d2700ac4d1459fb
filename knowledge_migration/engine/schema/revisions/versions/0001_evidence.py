"""Our own schema `migration`: evidence, audit log, ledger, quarantine, gates."""

from alembic import context

revision = "0001_evidence"
down_revision = None


def upgrade() -> None:
    """Runs the revision's steps in order."""
    context.config.attributes["run_revision"](revision, "up")


def downgrade() -> None:
    """Runs the reversals in opposite order."""
    context.config.attributes["run_revision"](revision, "down")
