"""The audit log as people read it: newest first, in pages by key."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.knowledge.audit import DECISIONS

PAGE = 50
LOOKED_THROUGH = 20_000
"""So many entries are looked through for a page; where steps are rare among decisions a page may be shorter, or empty."""


@dataclass(frozen=True)
class Entry:
    """Who did what to what, when and why; what it was before and after, as JSON."""

    id: int
    at: datetime
    actor: str
    action: str
    subject: str
    reason: str | None
    before: Any
    after: Any
    dagster_run_id: str | None


@dataclass(frozen=True)
class Page:
    """Entries, newest first; `older` is the key to go on from, None at the end."""

    entries: tuple[Entry, ...]
    older: int | None


def mark_of(connection: Connection) -> int:
    """Another number as soon as an entry is added; 0 for an empty log."""
    row = connection.execute(text_of("status/audit_mark")).fetchone()
    assert row is not None  # an aggregate
    found: int = row["mark"]
    return found


def page_of(connection: Connection, older_than: int | None = None, *, with_decisions: bool = False) -> Page:
    """A page of the log; decisions about single proposals are left out unless wanted."""
    parameters = {"older_than": older_than, "looked_through": LOOKED_THROUGH}
    wanted = {**parameters, "with_decisions": with_decisions, "decisions": list(DECISIONS), "limit": PAGE}
    rows = connection.execute(text_of("status/audit_entries"), wanted).fetchall()
    entries = tuple(Entry(**row) for row in rows)
    if len(entries) == PAGE:
        return Page(entries, entries[-1].id)
    rest = connection.execute(text_of("status/audit_looked_through"), parameters).fetchone()
    return Page(entries, rest["id"] if rest else None)
