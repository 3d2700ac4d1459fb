"""The fence of dual write: from one moment on, no session writes knowledge without a proposal (ERRATA F22).

It waits until the live processes have acknowledged the flags and the transactions that were open then have ended; then it
watches, because heartbeats say nothing about a writer that is not our service.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import registry

from knowledge_migration.engine.dual_write import captured
from knowledge_migration.engine.dual_write.observation import Observation, watch
from knowledge_migration.engine.foundation import audit, evidence
from knowledge_migration.engine.foundation.check_outcome import CheckOutcome
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import PreconditionError, translate_knowledge_errors
from knowledge_migration.engine.schema import capture
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
    capture: str = "application"


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


def record(
    database: Database, flags: Flags, writers: tuple[str, ...], seconds: float, *, dagster_run_id: str | None = None
) -> Fence:
    """Records the fence, which the caller has proven."""
    with database.connect("dual write fence") as connection:
        mode = "database" if capture.is_installed(connection) else "application"
        content = {"flag_version": flags.version, "writers": list(writers), "seconds": seconds, "capture": mode}
        evidence.record(connection, EVIDENCE, content, dagster_run_id=dagster_run_id)
        return _recorded(connection)


def proven_fence(database: Database) -> Fence:
    """The recorded fence; raises `PreconditionError` if there is none or dual write has been off since."""
    with database.connect("dual write fence") as connection:
        fence = _recorded(connection)
        if fence.capture == "database":
            _require_capture(connection)
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


def _require_capture(connection: Connection) -> None:
    missing = capture.not_enforced(connection)
    if missing:
        raise PreconditionError(
            f"The capture in the database is not enforced: {', '.join(missing)} is missing or disabled. Run phase "
            "1 again (job phase_1_schema), which installs and enables it, then materialize dual_write_mode."
        )


def refuse_uncaptured(database: Database, timeouts: FenceSettings, *, new_only: bool = True) -> None:
    """Raises `PreconditionError` naming the sessions if any session writes without a proposal while this watches.

    Where the capture is enforced, it returns at once: a writer that triggers do not see is left to the sweep.
    """
    with database.connect("dual write watch") as connection:
        if capture.is_installed(connection):
            _require_capture(connection)
            return
        observed = watch(connection, timeouts, new_only=new_only)
    if observed.total:
        raise PreconditionError(uncaptured(observed))


def uncaptured(observed: Observation) -> str:
    """The message about sessions that write without a proposal, with the next step."""
    return (
        f"Somebody writes beside the migration: {observed.message} Stop these writers, or let them write through "
        "knowledge_migration.knowledge.integration, or materialize dual_write_mode without KNOWLEDGE_MIGRATION_NO_LIVE_WRITERS "
        "and with DUAL_WRITE_CAPTURE=database: triggers then write the proposals of every session."
    )


def require_fence(
    database: Database, timeouts: FenceSettings, *, no_live_writers: bool, dagster_run_id: str | None = None
) -> None:
    """Raises `PreconditionError` unless the fence is proven, or the operator confirms that no process writes; audited.

    Either is verified now: no session may write without a proposal during the watch.
    """
    if not no_live_writers:
        try:
            proven_fence(database)
        except PreconditionError as error:
            raise PreconditionError(
                f"{error} If no process writes topics or atoms at all, confirm it with "
                "KNOWLEDGE_MIGRATION_NO_LIVE_WRITERS=true; it is recorded in the audit log."
            ) from error
        refuse_uncaptured(database, timeouts)
        return
    refuse_uncaptured(database, timeouts, new_only=False)
    with database.connect("dual write fence") as connection:
        direct = [row for row in live_writers(connection, timeouts.live_seconds) if row["mode"] not in SHADOWING_STATES]
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
    live, captures = live_writers(connection, live_seconds), capture.is_installed(connection)
    direct = [row for row in live if row["mode"] not in SHADOWING_STATES and not captures]
    missing = capture.not_enforced(connection) if captures else []
    disabled = [{"process": name, "mode": "not enforced"} for name in missing]
    need_one = need_one and not captures
    violations = [*direct, *disabled] if live or not need_one else [{"process": "none", "mode": "unknown"}]
    return CheckOutcome(
        name="every_live_writer_dual_writes",
        count=len(violations),
        sample=tuple({key: str(value) for key, value in row.items()} for row in violations[:20]),
        description=(
            "At least one process of the service is live, and none writes knowledge without a proposal."
            if need_one
            else "No live process of the service writes knowledge without a proposal, and the capture, if installed, is enforced."
        ),
        remedy="Stop the processes named here, or start the service (knowledge-migration serve) in their place. Next to another "
        "application, materialize dual_write_mode with DUAL_WRITE_CAPTURE=database. Then run the check again.",
        numbers={"live_writers": len(live), **(captured.totals(connection) if captures else {})},
    )


@contextmanager
def _session(database: Database) -> Iterator[sa.Connection]:
    with translate_knowledge_errors(), database.engine() as engine, engine.connect() as connection:
        yield connection


def _recorded(connection: Connection) -> Fence:
    recorded = evidence.require(connection, EVIDENCE, made_by="asset dual_write_mode")
    content = recorded.content
    given = (content["flag_version"], tuple(content["writers"]), content["seconds"])
    return Fence(recorded.recorded_at, *given, content.get("capture", "application"))
