"""One reading of the state: its sessions, and how a part that does not exist yet or may not be read is handled."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TypeVar

import psycopg
import sqlalchemy as sa

from knowledge_migration.addresses import parsed
from knowledge_migration.engine.cutover.state import CutoverState, read_cutover_state
from knowledge_migration.engine.foundation.database import NOT_SO_FAR, Connection, Database, UnreachableError, exists
from knowledge_migration.engine.foundation.errors import MigrationError, PreconditionError
from knowledge_migration.engine.status.audit_trail import AuditTrail
from knowledge_migration.knowledge.flags import FlagsError
from knowledge_migration.settings import Settings

CONNECT_LIMITS = {
    "connect_timeout": "5",
    "keepalives_idle": "5",
    "keepalives_interval": "3",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
}
"""A server that disappears without an error must not block a reading forever."""

T = TypeVar("T")


@dataclass
class Reading:
    """What one reading needs; `unreadable` collects the parts that could not be read, with the reason.

    `trail` is the audit trail of an earlier reading, and `exact` counts every row; otherwise a table that takes long to
    count is estimated.
    """

    database: Database
    connection: Connection
    settings: Settings
    now: datetime
    trail: AuditTrail | None = None
    exact: bool = False
    unreadable: dict[str, str] = field(default_factory=dict)

    @cached_property
    def cutover(self) -> CutoverState | None:
        """The current stage; None before the flags are set."""
        return self.part("flags", lambda: read_cutover_state(self.database), "public.feature_flags")

    def part(self, name: str, ask: Callable[[], T], relation: str | None = None) -> T | None:
        """The answer; None where the database has not reached it, or cannot show it (then `unreadable` says so).

        Asks nothing without the `relation`: a statement that fails would leave an error in the log of the server.
        Raises `UnreachableError`, and every other error.
        """
        try:
            return ask() if relation is None or exists(self.connection, relation) else None
        except UnreachableError:
            raise
        except (PreconditionError, *NOT_SO_FAR):
            return None
        except (psycopg.errors.InsufficientPrivilege, FlagsError, MigrationError) as error:
            self.unreadable[name] = _first_line(error)
            return None
        except sa.exc.ProgrammingError as error:
            if isinstance(error.orig, psycopg.errors.InsufficientPrivilege):
                self.unreadable[name] = _first_line(error.orig)
            elif not isinstance(error.orig, NOT_SO_FAR):
                raise
            return None


@dataclass(frozen=True)
class _BoundedDatabase(Database):
    shown: str = ""

    @property
    def display(self) -> str:
        """The address that the user gave, without passwords."""
        return self.shown


def with_connect_limits(database: Database) -> Database:
    """The same database; a connection fails after some seconds, unless its address says otherwise."""
    address = parsed(database.url)
    missing = {name: value for name, value in CONNECT_LIMITS.items() if name not in address.query}
    bounded = address.update_query_dict(missing).render_as_string(hide_password=False)
    return _BoundedDatabase(bounded, database.display)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
