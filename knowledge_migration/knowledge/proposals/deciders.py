"""Who decides about proposals: a person, by the name that the application knows, or nobody; and what entries call it."""

from knowledge_migration.knowledge.tables import REVIEW_ACTIONS

AUTOMATIC = ("auto_approve", "auto_approve_migration", "dual_write", "replay")
"""Review actions that nobody stands behind; parking is one where no user did it, as a rollback parks."""

ENTRIES = {f"{action} proposal": action for action in REVIEW_ACTIONS}
"""What audit entries call each decision."""


def full_name(first: str | None, last: str | None) -> str:
    """First and last name, as far as they are known."""
    return " ".join(part for part in (first, last) if part)


def named(actor: str, user_id: int | None) -> str:
    """What audit entries call a reviewer (see `review`)."""
    return actor if user_id is None else f"{actor}, user {user_id}"
