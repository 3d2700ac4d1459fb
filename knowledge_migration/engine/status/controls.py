"""What an action of an admin changes: flags, who obeys them, the backfill's controls, the audit log. Quick at any size."""

from dataclasses import dataclass
from datetime import datetime

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.engine.status.audit_trail import Page, mark_of, page_of
from knowledge_migration.engine.status.model import FlagState, Writer
from knowledge_migration.engine.status.reader import SESSION, flags_now, writers_now
from knowledge_migration.engine.status.reading import Reading


@dataclass(frozen=True)
class ControlState:
    """What the operator has set for the backfill, None where it is as the settings say; who did, and when."""

    paused: bool
    batch_size: int | None
    rate_limit_per_second: float | None
    changed_at: datetime
    changed_by: str


@dataclass(frozen=True)
class Trail:
    """The newest page of the audit log without decisions about single proposals, and with them."""

    mark: int
    steps: Page
    everything: Page


@dataclass(frozen=True)
class ControlSnapshot:
    """None is what the database has not come to yet, or does not let us read: `unreadable` says what, and why."""

    at: datetime
    flags: FlagState | None
    writers: tuple[Writer, ...] | None
    control: ControlState | None
    trail: Trail | None
    unreadable: tuple[tuple[str, str], ...]


def read_controls(database: Database, live_seconds: float, before: ControlSnapshot | None = None) -> ControlSnapshot:
    """The state now; where nothing was written to the audit log since the look `before`, that part is taken from it.

    Raises `UnreachableError` when the database does not answer.
    """
    ask = Reading()
    with database.connect("status", settings=SESSION) as connection:
        moment = connection.execute(text_of("foundation/moment")).fetchone()
        assert moment is not None
        known = before.trail if before else None
        writers = ask("processes", lambda: writers_now(connection, live_seconds))
        control = ask("backfill", lambda: _control(connection))
        trail = ask("audit trail", lambda: _trail(connection, known))
    flags = ask("flags", lambda: flags_now(database))
    return ControlSnapshot(moment["moment"], flags, writers, control, trail, ask.refused)


def _control(connection: Connection) -> ControlState | None:
    row = connection.execute(text_of("status/control")).fetchone()
    return ControlState(**row) if row else None


def _trail(connection: Connection, known: Trail | None) -> Trail:
    mark = mark_of(connection)
    if known and known.mark == mark:
        return known
    return Trail(mark, page_of(connection), page_of(connection, with_decisions=True))
