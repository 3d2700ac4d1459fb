"""The fence of dual write: from one moment on, no process writes knowledge without a proposal (ERRATA F22).

It waits until the live processes have acknowledged the flags and the transactions that were open then have ended.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import registry

from knowledge_migration.engine.foundation import audit, evidence
from knowledge_migration.engine.foundation.check_outcome import CheckOutcome
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import PreconditionError, translate_knowledge_errors
from knowledge_migration.knowledge import writers
from knowledge_migration.knowledge.audit import AuditAction
from knowledge_migration.knowledge.flags import SHADOWING_STATES, Flags, changes_since, last_audited, read_flags
from knowledge_migration.knowledge.writers import Rows
from knowledge_migration.settings import FenceSettings

EVIDENCE = "dual_write_fence"
DIALECT = registry.load("postgresql.psycopg")()


@dataclass(frozen=True)
class Fence:
    """A proven fence: when, for which flag version, by which processes, after how many seconds."""

    proven_at: datetime
    flag_version: int
    writers: tuple[str, ...]
    seconds: float


def live_writers(connection: Connection, live_seconds: float) -> Rows:
    """The processes of the service that have reported within `live_seconds`."""
    query = writers.live_writers_query(live_seconds).compile(dialect=DIALECT)
    return connection.execute(str(query).encode(), query.params).fetchall()


def wait_until_acknowledged(
    database: Database, flags: Flags, timeouts: FenceSettings, *, need_one: bool = True
) -> tuple[str, ...]:
    """Waits until every live process has acknowledged these flags; returns their names.

    Raises `BlockedError` naming the processes that have not, or saying that none is live if one is needed.
    """
    with _session(database) as connection:
        return writers.wait_until_acknowledged(connection, flags, timeouts, need_one=need_one)


def wait_until_fenced(
    database: Database, flags: Flags, timeouts: FenceSettings, *, need_one: bool = True
) -> tuple[str, ...]:
    """The same, and then until every transaction that was open by then has ended."""
    with _session(database) as connection:
        processes = writers.wait_until_acknowledged(connection, flags, timeouts, need_one=need_one)
        writers.drain(connection, timeouts)
    return processes


def prove(database: Database, flags: Flags, timeouts: FenceSettings, *, dagster_run_id: str | None = None) -> Fence:
    """Waits for processes and transactions, then records the fence; the flags are set already."""
    started = timeouts.clock()
    processes = wait_until_fenced(database, flags, timeouts)
    seconds = round(timeouts.clock() - started, 3)
    content = {"flag_version": flags.version, "writers": list(processes), "seconds": seconds}
    with database.connect("dual write fence") as connection:
        evidence.record(connection, EVIDENCE, content, dagster_run_id=dagster_run_id)
        return _recorded(connection)


def proven_fence(database: Database) -> Fence:
    """The recorded fence; raises `PreconditionError` if there is none or dual write has been off since."""
    with database.connect("dual write fence") as connection:
        fence = _recorded(connection)
    with translate_knowledge_errors(), database.begin() as transaction:
        flags, audited = read_flags(transaction), last_audited(transaction)
        later = changes_since(transaction, fence.flag_version)
    if flags and flags != audited:
        known = f"version {audited.version}" if audited else "none"
        raise PreconditionError(
            f"The flags have version {flags.version}, and the last audited ones are {known}: somebody changed them without the "
            "audit log, so nobody knows whether dual write was on. Set them with knowledge-migration flags set, then "
            "materialize dual_write_mode again."
        )
    if flags and (unknown := flags.version - fence.flag_version - len(later)) > 0:
        raise PreconditionError(
            f"The flags have been changed {unknown} times without the audit log since dual write was proven at "
            f"{fence.proven_at:%Y-%m-%d %H:%M} UTC, so nobody knows whether it was on. Materialize dual_write_mode again."
        )
    if flags is None or any(one.state not in SHADOWING_STATES for one in (flags, *later)):
        raise PreconditionError(
            f"Dual write was proven at {fence.proven_at:%Y-%m-%d %H:%M} UTC, but it has been off since. "
            "Materialize dual_write_mode again."
        )
    return fence


def require_fence(
    database: Database, *, no_live_writers: bool, live_seconds: float, dagster_run_id: str | None = None
) -> None:
    """Raises `PreconditionError` unless the fence is proven, or the operator confirms that no process writes; audited."""
    if not no_live_writers:
        try:
            proven_fence(database)
        except PreconditionError as error:
            raise PreconditionError(
                f"{error} If no process writes topics or atoms at all, confirm it with "
                "KNOWLEDGE_MIGRATION_NO_LIVE_WRITERS=true; it is recorded in the audit log."
            ) from error
        return
    with database.connect("dual write fence") as connection:
        direct = [row for row in live_writers(connection, live_seconds) if row["mode"] not in SHADOWING_STATES]
        if direct:
            raise PreconditionError(
                f"KNOWLEDGE_MIGRATION_NO_LIVE_WRITERS is set, but these live processes write directly: "
                f"{writers.listed(direct)}. Stop them, or materialize dual_write_mode and unset it."
            )
        audit.record(
            connection,
            AuditAction.NO_LIVE_WRITERS,
            "phase 3",
            reason="KNOWLEDGE_MIGRATION_NO_LIVE_WRITERS=true",
            dagster_run_id=dagster_run_id,
        )


def writers_outcome(connection: Connection, live_seconds: float, *, need_one: bool = True) -> CheckOutcome:
    """Whether every live process writes no knowledge without a proposal; without a live process only if none is needed."""
    live = live_writers(connection, live_seconds)
    direct = [row for row in live if row["mode"] not in SHADOWING_STATES]
    violations = direct if live or not need_one else [{"process": "none", "mode": "unknown"}]
    return CheckOutcome(
        name="every_live_writer_dual_writes",
        count=len(violations),
        sample=tuple({key: str(value) for key, value in row.items()} for row in violations[:20]),
        description=(
            "At least one process of the service is live, and none writes knowledge without a proposal."
            if need_one
            else "No live process of the service writes knowledge without a proposal."
        ),
        remedy="Start the service (knowledge-migration serve), or stop the processes named here; then run the check again.",
        numbers={"live_writers": len(live)},
    )


@contextmanager
def _session(database: Database) -> Iterator[sa.Connection]:
    with translate_knowledge_errors(), database.engine() as engine, engine.connect() as connection:
        yield connection


def _recorded(connection: Connection) -> Fence:
    recorded = evidence.require(connection, EVIDENCE, made_by="asset dual_write_mode")
    content = recorded.content
    return Fence(recorded.recorded_at, content["flag_version"], tuple(content["writers"]), content["seconds"])
