"""The errors that the migration raises on purpose. Each message states what happened, to which object, and the remedy."""

from collections.abc import Iterator
from contextlib import contextmanager


class MigrationError(Exception):
    """An error for the operator; nothing is half done unless its message says so."""


class PreconditionError(MigrationError):
    """A step was requested before its preconditions are met."""


class BlockedError(MigrationError):
    """Another session held a lock that this step needs for the whole bounded wait."""


class BusyError(MigrationError):
    """Another process is doing the same work now."""


class VerificationError(MigrationError):
    """A comparison that must be equal is not, or could not be made."""


@contextmanager
def translate_knowledge_errors() -> Iterator[None]:
    """Raises `PreconditionError` for flags that cannot be read or set so, `BlockedError` for a wait that timed out."""
    from knowledge_migration.knowledge.flags import FlagsError  # errors themselves need only the standard library
    from knowledge_migration.knowledge.writers import FenceError

    try:
        yield
    except FlagsError as error:
        raise PreconditionError(str(error)) from error
    except FenceError as error:
        raise BlockedError(str(error)) from error
