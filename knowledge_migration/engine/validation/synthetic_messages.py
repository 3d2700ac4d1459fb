"""Synthetic messages in a live database, and the removal of every row that extractions from them create.

A mark is written in the transaction that inserts the messages, so after a kill the next validation removes the leftovers.
Only rows created by these extractions are deleted: rows whose origin is one of their proposals, or that their transaction
wrote in direct mode. A row that somebody has changed, decided about or refers to stays and is reported.
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
from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.advisory_lock import advisory_lock
from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.errors import MigrationError, PreconditionError
from knowledge_migration.engine.foundation.sql_files import statement, text_of
from knowledge_migration.knowledge.entity_kinds import KINDS, EntityKind

KIND = "synthetic_messages"
WORK = "validation with synthetic messages"
WAIT_SECONDS, PAUSE_SECONDS = 60.0, 0.25


@dataclass(frozen=True)
class Mark:
    """A record of synthetic messages: its id, its name (the note of our own decisions), its time, the message ids."""

    id: int
    name: str
    at: datetime
    message_ids: tuple[int, ...]


@dataclass(frozen=True)
class Removed:
    """The number of removed rows of one mark, and the rows that stay, each with the reason."""

    rows: int
    kept: tuple[str, ...]


@contextmanager
def synthetic_messages(
    connection: Connection, contents: Sequence[str], *, sleep: Callable[[float], None] = time.sleep
) -> Iterator[tuple[Mark, list[Removed]]]:
    """Messages with these texts while the block runs; the list reports removals: earlier leftovers first, then these.

    One validation at a time per database: raises `BusyError` naming the holder. Raises `PreconditionError` before phase 1
    or without a user or source; `MigrationError` when an extraction does not end (the mark stays).
    """
    require_phase_1(connection)
    with advisory_lock(connection, WORK):
        removed = [remove(connection, mark, sleep=sleep) for mark in marks(connection)]
        mark = _insert(connection, contents)
        try:
            yield mark, removed
        finally:
            removed.append(remove(connection, mark, sleep=sleep))


def marks(connection: Connection) -> list[Mark]:
    """The marks of messages that are not removed yet, oldest first."""
    return [
        Mark(row["id"], row["content"]["name"], row["recorded_at"], tuple(row["content"]["message_ids"]))
        for row in connection.execute(text_of("validation/synthetic_marks"))
    ]


def user_ids(connection: Connection) -> list[int]:
    """Users on whose behalf a synthetic message can be extracted, at most 10,000, by id."""
    return [row["id"] for row in connection.execute(text_of("validation/synthetic_users"))]


def _insert(connection: Connection, contents: Sequence[str]) -> Mark:
    name = f"validation-{uuid4().hex[:12]}"
    with connection.transaction():
        rows = connection.execute(
            text_of("validation/synthetic_insert"), {"name": name, "contents": list(contents)}
        ).fetchall()
        message_ids = [row["id"] for row in rows]
        if len(message_ids) != len(contents):
            raise PreconditionError(
                "This database has no user or no source, so a synthetic message cannot be inserted. Nothing was written."
            )
        evidence.record(connection, KIND, {"name": name, "message_ids": message_ids})
    mark = marks(connection)[-1]
    assert mark.message_ids == tuple(message_ids)  # the advisory lock admits one validation at a time
    return mark


def remove(connection: Connection, mark: Mark, *, sleep: Callable[[float], None] = time.sleep) -> Removed:
    """Removes every row of a mark, and the mark, in one transaction; a second call finds nothing."""
    given: dict[str, Any] = {"message_ids": list(mark.message_ids), "since": mark.at, "name": mark.name}
    given["run_ids"] = _ended_runs(connection, given, sleep)
    kept: list[str] = []
    with connection.transaction():
        connection.execute(text_of("validation/synthetic_lock_runs"), given)
        direct = connection.execute(text_of("validation/synthetic_direct_writes"), given).fetchall()
        given |= {"versions": [row["version"] for row in direct], "moments": [row["moment"] for row in direct]}
        count = connection.execute(text_of("validation/synthetic_remove_messages"), given).rowcount
        for kind in reversed(KINDS):
            count += _remove_entities(connection, kind, given, kept)
        for kind in KINDS:
            count += _remove_proposals(connection, kind, given, kept)
        count += connection.execute(text_of("validation/synthetic_remove_runs"), given).rowcount
        connection.execute(text_of("validation/synthetic_forget"), {"mark": mark.id})
    return Removed(count, tuple(kept))


def _ended_runs(connection: Connection, given: dict[str, Any], sleep: Callable[[float], None]) -> list[Any]:
    """The runs of these messages once all have ended: a running one would write after the removal."""
    waited = 0.0
    while True:
        runs = connection.execute(text_of("validation/synthetic_runs"), given).fetchall()
        if all(row["status"] != "running" for row in runs):
            return [row["id"] for row in runs]
        if waited >= WAIT_SECONDS:
            raise MigrationError(
                f"An extraction from synthetic messages has not ended after {WAIT_SECONDS:g} s, so its rows cannot be "
                "removed yet. The messages are marked: the next validation removes them first."
            )
        sleep(PAUSE_SECONDS)
        waited += PAUSE_SECONDS


def _remove_entities(connection: Connection, kind: EntityKind, given: dict[str, Any], kept: list[str]) -> int:
    rows = connection.execute(text_of(f"validation/synthetic_{kind.table}"), given).fetchall()
    kept += [f"{kind.name} {row['id']} stays: {row['kept_because']}." for row in rows if row["kept_because"]]
    removable = [row["id"] for row in rows if row["kept_because"] is None]
    if kind.name == "atom":
        connection.execute(text_of("validation/synthetic_remove_atom_links"), {"atom_ids": removable})
    blockers = [_remove_row(connection, kind, row_id) for row_id in removable]
    kept += [blocker for blocker in blockers if blocker]
    return blockers.count(None)


def _remove_row(connection: Connection, kind: EntityKind, row_id: int) -> str | None:
    """Removes one row with its relations; returns None, or why the row stays."""
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


def _remove_proposals(connection: Connection, kind: EntityKind, given: dict[str, Any], kept: list[str]) -> int:
    tables = {"table": f"public.{kind.table}", "proposals": f"public.{kind.proposal_table}"}
    count = connection.execute(statement("validation/synthetic_remove_proposals", **tables), given).rowcount
    rest = statement("validation/synthetic_left_proposals", proposals=tables["proposals"])
    kept += [f"{kind.name} proposal {row['id']} stays." for row in connection.execute(rest, given)]
    return count
