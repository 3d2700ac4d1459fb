"""Messages of our own in a live database, and everything that becomes of them, removed to the last row.

They are marked in the transaction that makes them, so a kill at any moment leaves a mark by which the next validation
removes them first. Only what came into being through their extractions is ever deleted: rows whose origin is a proposal
of theirs. What somebody has changed, decided about or refers to by now stays, with its proposal, and is told.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

import psycopg

from knowledge_migration.engine.backfill.run import require_phase_1
from knowledge_migration.engine.dual_write.fence import live_writers
from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.advisory_lock import advisory_lock
from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.errors import MigrationError, PreconditionError
from knowledge_migration.engine.foundation.sql_files import statement, text_of
from knowledge_migration.knowledge.entity_kinds import KINDS, EntityKind

KIND = "marked_messages"
WORK = "validation with rows of its own"
WAIT_SECONDS, PAUSE_SECONDS = 60.0, 0.25


@dataclass(frozen=True)
class Mark:
    """Messages of ours: the mark's id, its name (the note of a decision of ours), when it was made, their ids."""

    id: int
    name: str
    at: datetime
    message_ids: tuple[int, ...]


@dataclass(frozen=True)
class Removed:
    """How many rows were removed of what a mark speaks of, and what had to stay because somebody refers to it."""

    rows: int
    kept: tuple[str, ...]


@contextmanager
def marked_messages(
    connection: Connection, contents: Sequence[str], *, sleep: Callable[[float], None] = time.sleep
) -> Iterator[tuple[Mark, list[Removed]]]:
    """Messages with these texts while the block runs; the list gets what was removed of earlier ones, then of these.

    One at a time per database: raises `BusyError` naming who is at it. Raises `PreconditionError` before phase 1, or where
    there is no user or source; `MigrationError` when an extraction of ours does not end, and the mark stays.
    """
    require_phase_1(connection)
    with advisory_lock(connection, WORK):
        removed = [remove(connection, mark, sleep=sleep) for mark in marks(connection)]
        mark = _make(connection, contents)
        try:
            yield mark, removed
        finally:
            removed.append(remove(connection, mark, sleep=sleep))


def marks(connection: Connection) -> list[Mark]:
    """What an earlier validation has left."""
    return [
        Mark(row["id"], row["content"]["name"], row["recorded_at"], tuple(row["content"]["message_ids"]))
        for row in connection.execute(text_of("validation/synthetic_marks"))
    ]


def _make(connection: Connection, contents: Sequence[str]) -> Mark:
    name = f"validation-{uuid4().hex[:12]}"
    with connection.transaction():
        rows = connection.execute(
            text_of("validation/synthetic_insert"), {"name": name, "contents": list(contents)}
        ).fetchall()
        ids = [row["id"] for row in rows]
        if len(ids) != len(contents):
            raise PreconditionError(
                "There is no user or no source in this database that a message of the validation could be from."
            )
        evidence.record(connection, KIND, {"name": name, "message_ids": ids})
    made = marks(connection)[-1]
    assert made.message_ids == tuple(ids)  # one at a time
    return made


def remove(connection: Connection, mark: Mark, *, sleep: Callable[[float], None] = time.sleep) -> Removed:
    """Removes everything of a mark, and the mark, in one transaction; a second time it finds nothing and says so."""
    given: dict[str, Any] = {"message_ids": list(mark.message_ids), "since": mark.at, "name": mark.name}
    given["run_ids"] = _ended_runs(connection, given, sleep)
    kept: list[str] = []
    with connection.transaction():
        connection.execute(text_of("validation/synthetic_lock_runs"), given)
        count = connection.execute(text_of("validation/synthetic_remove_messages"), given).rowcount
        for kind in reversed(KINDS):
            rows = connection.execute(text_of(f"validation/synthetic_{kind.table}"), given).fetchall()
            free = [row["id"] for row in rows if row["kept_because"] is None]
            if kind.name == "atom":
                connection.execute(text_of("validation/synthetic_remove_atom_links"), {"atom_ids": free})
            kept += [f"{kind.name} {row['id']} stays: {row['kept_because']}." for row in rows if row["kept_because"]]
            blockers = [_remove_row(connection, kind, one) for one in free]
            kept += [blocker for blocker in blockers if blocker]
            count += blockers.count(None)
        for kind in KINDS:
            names = {"table": f"public.{kind.table}", "proposals": f"public.{kind.proposal_table}"}
            count += connection.execute(statement("validation/synthetic_remove_proposals", **names), given).rowcount
            left = connection.execute(
                statement("validation/synthetic_left_proposals", proposals=names["proposals"]), given
            ).fetchall()
            kept += [f"{kind.name} proposal {row['id']} stays with what became of it." for row in left]
        count += connection.execute(text_of("validation/synthetic_remove_runs"), given).rowcount
        connection.execute(text_of("validation/synthetic_forget"), {"mark": mark.id})
    return Removed(count, tuple(kept))


def _ended_runs(connection: Connection, parameters: dict[str, Any], sleep: Callable[[float], None]) -> list[Any]:
    """The extractions of these messages, once none of them runs any more: one that does would write after us."""
    waited = 0.0
    while True:
        found = connection.execute(text_of("validation/synthetic_runs"), parameters).fetchall()
        if all(row["status"] != "running" for row in found):
            return [row["id"] for row in found]
        if waited >= WAIT_SECONDS:
            raise MigrationError(
                f"An extraction of the validation's own messages has not ended after {WAIT_SECONDS:g} s, so its rows "
                "cannot be removed yet. They are marked: the next validation removes them first."
            )
        sleep(PAUSE_SECONDS)
        waited += PAUSE_SECONDS


def _remove_row(connection: Connection, kind: EntityKind, row_id: int) -> str | None:
    """Removes one row with its relations; None if it went, else who refers to it."""
    try:
        with connection.transaction():
            if kind.name == "atom":
                connection.execute(text_of("validation/synthetic_remove_atom_relations"), {"id": row_id})
            connection.execute(
                statement("validation/synthetic_remove_row", table=f"public.{kind.table}"), {"id": row_id}
            )
    except psycopg.errors.ForeignKeyViolation as error:
        return f"{kind.name} {row_id} stays: {error.diag.message_detail}"
    return None


def require_this_database(connection: Connection, process: str, live_seconds: float) -> None:
    """Raises `PreconditionError` unless that process of the service reports in this database.

    One on another database would take the numbers of our messages for messages of its own users.
    """
    if process not in {str(row["process"]) for row in live_writers(connection, live_seconds)}:
        raise PreconditionError(
            f"The process {process} of the service does not report in this database, so it works on another one. Let "
            "KNOWLEDGE_SERVICE_URL name a service on this database. Nothing was written."
        )
