"""How a look asks for each of its parts: what a database has not come to yet is None, what may not be read is None and named."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import psycopg
import sqlalchemy as sa

from knowledge_migration.engine.foundation.database import NOT_SO_FAR, UnreachableError
from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration.knowledge.flags import FlagsError

Found = TypeVar("Found")


@dataclass
class Reading:
    """One look's questions; `unreadable` says for each part that could not be read why."""

    unreadable: dict[str, str] = field(default_factory=dict)

    def __call__(self, part: str, ask: Callable[[], Found]) -> Found | None:
        """The answer. Raises `UnreachableError`, and whatever else is neither "not so far" nor "not allowed"."""
        try:
            return ask()
        except UnreachableError:
            raise
        except (MigrationError, *NOT_SO_FAR):
            return None
        except (psycopg.errors.InsufficientPrivilege, FlagsError) as error:
            self.unreadable[part] = _first_line(error)
            return None
        except sa.exc.ProgrammingError as error:
            if isinstance(error.orig, psycopg.errors.InsufficientPrivilege):
                self.unreadable[part] = _first_line(error.orig)
            elif not isinstance(error.orig, NOT_SO_FAR):
                raise
            return None

    @property
    def refused(self) -> tuple[tuple[str, str], ...]:
        """The parts that could not be read, each with why."""
        return tuple(self.unreadable.items())


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
