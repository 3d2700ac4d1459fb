"""The audit log, newest entries first, in pages by primary key."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.knowledge.audit import ROW_CHANGES, USER_OF_ACTOR

PAGE = 50
EXAMINED = 20_000
"""Most entries that are examined for one page; where decisions about proposals prevail, a page may be shorter or empty."""


@dataclass(frozen=True)
class Entry:
    """Who did what to which object, when and why, with the values before and after as JSON; `who` is the actor by name."""

    id: int
    at: datetime
    actor: str
    action: str
    subject: str
    reason: str | None
    before: Any
    after: Any
    dagster_run_id: str | None
    who: str = ""


@dataclass(frozen=True)
class Page:
    """Entries, newest first; `older` is the key of the next page, None at the end of the log."""

    entries: tuple[Entry, ...]
    older: int | None


@dataclass(frozen=True)
class AuditTrail:
    """The newest page of the log without changes of single rows and proposals, and with them; `mark` changes with every entry."""

    mark: int
    steps: Page
    everything: Page


def read_trail(connection: Connection, before: AuditTrail | None = None) -> AuditTrail:
    """The newest pages; `before` itself where no entry was added since."""
    row = connection.execute(text_of("status/audit_mark")).fetchone()
    assert row is not None  # an aggregate
    if before and before.mark == row["mark"]:
        return before
    return AuditTrail(row["mark"], read_page(connection), read_page(connection, with_decisions=True))


def names_of(connection: Connection, actors: Collection[str]) -> dict[str, str]:
    """Each actor as people know them: a user of the application by name, if the table of users can be read."""
    users = {actor: int(match[1]) for actor in actors if (match := re.search(USER_OF_ACTOR, actor))}
    allowed = users and connection.execute(text_of("status/may_read_users")).fetchone()
    if not allowed or not allowed["allowed"]:
        return {actor: actor for actor in actors}
    rows = connection.execute(text_of("status/names_of_users"), {"ids": sorted(set(users.values()))})
    names = {row["id"]: row["name"] for row in rows}
    return {actor: _named(actor, names.get(users.get(actor, 0))) for actor in actors}


def _named(actor: str, name: str | None) -> str:
    """`admin on the page, user 3` as `Ada Lovelace (admin on the page)`."""
    return f"{name} ({re.sub(USER_OF_ACTOR, '', actor)})" if name else actor


def read_page(
    connection: Connection,
    older_than: int | None = None,
    *,
    with_decisions: bool = False,
    limit: int | None = None,
    examined: int | None = None,
) -> Page:
    """One page of the log; changes of single rows and proposals only with `with_decisions`."""
    size = limit or PAGE
    parameters = {"older_than": older_than, "examined": examined or EXAMINED}
    rows = connection.execute(
        text_of("status/audit_entries"),
        {**parameters, "with_decisions": with_decisions, "decisions": list(ROW_CHANGES), "limit": size},
    )
    read = rows.fetchall()
    names = names_of(connection, {row["actor"] for row in read})
    entries = tuple(Entry(**row, who=names[row["actor"]]) for row in read)
    if len(entries) == size:
        return Page(entries, entries[-1].id)
    last = connection.execute(text_of("status/audit_last_examined"), parameters).fetchone()
    return Page(entries, last["id"] if last else None)
