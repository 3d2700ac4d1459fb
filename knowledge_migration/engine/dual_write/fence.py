"""The fence of dual write: from some moment on nobody writes knowledge without a proposal, and that is proven (ERRATA F22).

The service asks for the flags inside each transaction that writes, so a transaction that began after the switch obeys it.
What is left to wait for are the live processes (they must say that they have seen it) and the transactions that were open
then. Waits for both, bounded, and says who is missing. Changes nothing.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from knowledge_migration.engine.foundation import audit, evidence
from knowledge_migration.engine.foundation.check_outcome import CheckOutcome
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import BlockedError, PreconditionError
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.knowledge.audit import AuditAction
from knowledge_migration.knowledge.flags import SHADOWING_STATES, Flags, FlagsError, changes_since, read_flags

EVIDENCE = "dual_write_fence"
POLL_SECONDS = 0.2

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class FenceTimeouts:
    """How long to wait, and how recently a process must have reported to count as live."""

    seconds: float = 120.0
    live_seconds: float = 10.0
    poll_seconds: float = POLL_SECONDS
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class Fence:
    """A proven fence: since when, under which version of the flags, by which processes, after how many seconds."""

    proven_at: datetime
    flag_version: int
    writers: tuple[str, ...]
    seconds: float


def wait_until_acknowledged(
    connection: Connection, flags: Flags, timeouts: FenceTimeouts, *, need_one: bool = True
) -> Rows:
    """Waits until every live process of the service has seen these flags; returns those processes.

    Raises `BlockedError` naming who has not, or that none lives if one is needed.
    """
    until = timeouts.clock() + timeouts.seconds
    while True:
        live = live_writers(connection, timeouts.live_seconds)
        missing = [row for row in live if row["flag_version"] < flags.version]
        if not missing and (live or not need_one):
            return live
        if timeouts.clock() >= until:
            raise BlockedError(_who_is_missing(missing, flags, timeouts))
        timeouts.sleep(timeouts.poll_seconds)


def drain(connection: Connection, timeouts: FenceTimeouts) -> None:
    """Waits until every transaction that is open now has ended; raises `BlockedError` naming those that have not."""
    until = timeouts.clock() + timeouts.seconds
    older = _open_transactions(connection)
    while left := older.keys() & _open_transactions(connection).keys():
        if timeouts.clock() >= until:
            who = "; ".join(_session(older[key]) for key in sorted(left, key=str))
            raise BlockedError(
                f"Transactions that began before the flags changed are still open after {timeouts.seconds:g} s: {who}. "
                "What they write may follow the old flags. End them, or wait, then run this again; the flags stay set."
            )
        timeouts.sleep(timeouts.poll_seconds)


def prove(database: Database, flags: Flags, timeouts: FenceTimeouts, *, dagster_run_id: str | None = None) -> Fence:
    """Waits for processes and transactions, then records the fence; the flags are set already."""
    started = timeouts.clock()
    with database.connect("dual write fence") as connection:
        live = wait_until_acknowledged(connection, flags, timeouts)
        drain(connection, timeouts)
        writers = tuple(row["process"] for row in live)
        seconds = timeouts.clock() - started
        content = {"flag_version": flags.version, "writers": list(writers), "seconds": round(seconds, 3)}
        evidence.record(connection, EVIDENCE, content, dagster_run_id=dagster_run_id)
        return _recorded(connection)


def proven_fence(database: Database) -> Fence:
    """The fence, if it stands; raises `PreconditionError` if it was never proven or the flags have left it since."""
    with database.connect("dual write fence") as connection:
        fence = _recorded(connection)
    with database.begin() as transaction:
        try:
            flags = read_flags(transaction)
            later = changes_since(transaction, fence.flag_version)
        except FlagsError as error:
            raise PreconditionError(str(error)) from error
    if flags is None or any(one.state not in SHADOWING_STATES for one in (flags, *later)):
        raise PreconditionError(
            f"Dual write was proven at {fence.proven_at:%Y-%m-%d %H:%M} UTC, but it has been off since. "
            "Materialize dual_write_mode again."
        )
    return fence


def require_fence(
    database: Database, *, no_live_writers: bool, live_seconds: float, dagster_run_id: str | None = None
) -> None:
    """Raises `PreconditionError` unless no direct writer can be at work: proven, or on the operator's audited word."""
    if not no_live_writers:
        try:
            proven_fence(database)
        except PreconditionError as error:
            raise PreconditionError(
                f"{error} If no process writes topics or atoms at all, say so with "
                "KNOWLEDGE_MIGRATION_NO_LIVE_WRITERS=true; it goes to the audit log."
            ) from error
        return
    with database.connect("dual write fence") as connection:
        direct = [row for row in live_writers(connection, live_seconds) if row["mode"] not in SHADOWING_STATES]
        if direct:
            raise PreconditionError(
                f"KNOWLEDGE_MIGRATION_NO_LIVE_WRITERS is set, but these processes live and write directly: "
                f"{_listed(direct)}. Stop them, or materialize dual_write_mode and leave the setting out."
            )
        audit.record(
            connection,
            AuditAction.NO_LIVE_WRITERS,
            "phase 3",
            reason="KNOWLEDGE_MIGRATION_NO_LIVE_WRITERS=true",
            dagster_run_id=dagster_run_id,
        )


def live_writers(connection: Connection, live_seconds: float) -> Rows:
    """The processes of the service that reported lately."""
    return connection.execute(text_of("dual_write/live_writers"), {"live_seconds": live_seconds}).fetchall()


def writers_outcome(connection: Connection, live_seconds: float) -> CheckOutcome:
    """Whether every live process writes no knowledge without a proposal; none at all is no pass."""
    live = live_writers(connection, live_seconds)
    wrong = [row for row in live if row["mode"] not in SHADOWING_STATES]
    broken = wrong if live else [{"process": "none", "mode": "unknown"}]
    return CheckOutcome(
        name="every_live_writer_dual_writes",
        count=len(broken),
        sample=tuple({key: str(value) for key, value in row.items()} for row in broken[:20]),
        description="Every live process of the service writes no knowledge without a proposal, and there is one.",
        remedy="Start the service (knowledge-migration serve), or stop the processes named here; then run the check again.",
        numbers={"live_writers": len(live)},
    )


def _recorded(connection: Connection) -> Fence:
    found = evidence.require(connection, EVIDENCE, made_by="asset dual_write_mode")
    content = found.content
    return Fence(found.recorded_at, content["flag_version"], tuple(content["writers"]), content["seconds"])


def _open_transactions(connection: Connection) -> dict[tuple[Any, ...], dict[str, Any]]:
    rows = connection.execute(text_of("dual_write/open_transactions")).fetchall()
    return {(row["pid"], row["application"] if row["pid"] is None else "", row["since"]): row for row in rows}


def _who_is_missing(missing: Rows, flags: Flags, timeouts: FenceTimeouts) -> str:
    if not missing:
        return (
            f"No process of the knowledge service has reported within {timeouts.live_seconds:g} s, so nobody can be seen to "
            "obey. Start the service (knowledge-migration serve) and run this again; the flags stay set. If no process "
            "writes at all, set KNOWLEDGE_MIGRATION_NO_LIVE_WRITERS=true and go on with the backfill."
        )
    return (
        f"These processes have not seen version {flags.version} of the flags within {timeouts.seconds:g} s: "
        f"{_listed(missing)}. Restart or stop them and run this again; the flags stay set."
    )


def _listed(rows: Rows) -> str:
    return "; ".join(
        f"{row['process']} (mode {row['mode']}, flag version {row['flag_version']}, {row['seconds_ago']} s ago)"
        for row in rows
    )


def _session(row: dict[str, Any]) -> str:
    who = f"pid {row['pid']} ({row['application'] or 'unnamed application'})" if row["pid"] else row["application"]
    return f"{who} since {row['since']:%H:%M:%S}, {row['state']}: {row['query']}"
