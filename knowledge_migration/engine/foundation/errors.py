"""The errors that the migration raises on purpose. Each message says what happened, to what, and what to do next."""

from collections.abc import Iterator
from contextlib import contextmanager


class MigrationError(Exception):
    """Something that the operator must know; nothing is half done when it is raised unless its message says so."""


class PreconditionError(MigrationError):
    """A step was asked for before what it stands on is proven."""


class BlockedError(MigrationError):
    """Another session holds what this step needs, and went on holding it for the whole bounded wait."""


class BusyError(MigrationError):
    """Another process is doing this very work now."""


class VerificationError(MigrationError):
    """A comparison that has to come out equal did not, or could not be made."""


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
