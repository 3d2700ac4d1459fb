"""Gives a new database the name of the old one, in one transaction, without a moment in which a write could get lost.

The last session that locks the old database ends only once the rename blocks new connections: these wait, and then fail because
the database was renamed. Nothing is dropped. Killed before the commit, nothing has changed.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime

import psycopg
from psycopg import sql

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import BlockedError, MigrationError, PreconditionError
from knowledge_migration.engine.foundation.explanation import reason_of
from knowledge_migration.engine.foundation.sql_files import statement

POLL_SECONDS = 0.01
LEAVING_SECONDS = 2.0
LONGEST_NAME_BYTES = 63


def kept_name(name: str) -> str:
    """The name of the kept old database: its own, shortened where it is too long, and the time."""
    ending = f"_before_restore_{datetime.now(UTC):%Y%m%dT%H%M%S_%fZ}"
    room = LONGEST_NAME_BYTES - len(ending)
    return name.encode()[:room].decode(errors="ignore") + ending


def refuse_without_rights(admin: Connection, name: str) -> None:
    """Raises `PreconditionError` unless this role may create a database and rename this one."""
    row = admin.execute(statement("restore/swap_rights"), {"database": name}).fetchone()
    if row is None:
        raise PreconditionError(f"There is no database {name} on this server. Nothing was changed.")
    if not row["may_swap"]:
        raise PreconditionError(
            f"Role {row['role']} may not restore database {name}: that needs CREATEDB and the rights of its owner. Run ALTER "
            f'ROLE "{row["role"]}" CREATEDB and GRANT "{row["owner"]}" TO "{row["role"]}", or run this as {row["owner"]}. '
            "Nothing was changed."
        )


def other_sessions(admin: Connection, name: str, own: tuple[int, ...] = ()) -> list[str]:
    """The other sessions of the database, as text, without those with the pids `own`."""
    rows = admin.execute(statement("restore/other_sessions"), {"database": name, "own": list(own)}).fetchall()
    return [f"{row['application']} (pid {row['pid'] or 'none'}, user {row['user']})" for row in rows]


def refuse_sessions(admin: Connection, name: str, own: tuple[int, ...] = ()) -> None:
    """Raises `BlockedError` naming every other session of the database; waits two seconds for sessions that end."""
    until = time.monotonic() + LEAVING_SECONDS
    while (others := other_sessions(admin, name, own)) and time.monotonic() < until:
        time.sleep(POLL_SECONDS)
    if others:
        raise BlockedError(
            f"Others are connected to {name}: {'; '.join(others)}. Stop these applications first: rows that they write during "
            "the restore would be lost. Nothing was changed."
        )


def copy_properties(admin: Connection, source: str, target: str) -> None:
    """Copies the properties that no dump contains: owner, rights, connection limit, comment and settings."""
    rows = admin.execute(statement("restore/database_properties"), {"source": source, "target": target}).fetchall()
    for row in rows:
        try:
            admin.execute(sql.SQL(row["statement"]))
        except psycopg.errors.InsufficientPrivilege as error:
            raise PreconditionError(
                f"This role may not copy a property of {source} ({row['statement']}): {reason_of(error)}. "
                "Run this as a superuser. Nothing was changed."
            ) from error


def swap(server: Database, old: Connection, new: Connection, *, keep_as: str) -> None:
    """Renames the database of `old` to `keep_as` and that of `new` to its name; closes both sessions on the way.

    Raises `BlockedError` naming sessions that have connected meanwhile; the names are unchanged then.
    """
    name, copy = old.info.dbname, new.info.dbname
    with (
        server.connect("restore swap") as admin,
        server.connect("restore watch") as watch,
        ThreadPoolExecutor(1) as pool,
    ):
        renamed = pool.submit(_rename, admin, [(name, keep_as), (copy, name)])
        for session in (old, new):
            _when_blocked(watch, admin.info.backend_pid, session.info.dbname, renamed, session.close)
        try:
            renamed.result()
        except psycopg.errors.ObjectInUse as error:
            others = (
                "; ".join(other_sessions(watch, name) + other_sessions(watch, copy)) or "they have disconnected again"
            )
            raise BlockedError(
                f"{name} was not renamed: others have connected meanwhile ({others}). Nothing was changed. Stop them, then run "
                "this again."
            ) from error
        except psycopg.Error as error:
            raise MigrationError(
                f"{name} was not renamed: {reason_of(error)}. Nothing was changed. Correct that, then run this again."
            ) from error


def _rename(admin: Connection, names: list[tuple[str, str]]) -> None:
    with admin.transaction():
        for before, after in names:
            identifiers = {"before": sql.Identifier(before), "after": sql.Identifier(after)}
            admin.execute(statement("restore/rename_database", **identifiers))


def _when_blocked(watch: Connection, pid: int, name: str, renamed: "Future[None]", leave: Callable[[], None]) -> None:
    """Calls `leave` when the rename blocks new connections to the database, or has failed before."""
    query = statement("restore/connections_are_blocked")
    while not renamed.done():
        row = watch.execute(query, {"pid": pid, "database": name}).fetchone()
        if row and row["blocked"]:
            break
        time.sleep(POLL_SECONDS)
    leave()
