"""Switches dual write on, through the audited function, and proves the fence (strategy §4.3)."""

from typing import Literal

from knowledge_migration.engine.dual_write.fence import (
    Fence,
    live_writers,
    record,
    uncaptured,
    wait_until_fenced,
)
from knowledge_migration.engine.dual_write.observation import watch
from knowledge_migration.engine.foundation import audit
from knowledge_migration.engine.foundation.advisory_lock import BACKFILL, advisory_lock
from knowledge_migration.engine.foundation.catalog import require_proposal_schema
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import PreconditionError, translate_knowledge_errors
from knowledge_migration.engine.schema import capture
from knowledge_migration.knowledge.flags import Flags, read_flags, set_flags
from knowledge_migration.settings import FenceSettings, SchemaChangeSettings

Mode = Literal["automatic", "application", "database"]


def store_flags(database: Database, initial: Flags, *, dagster_run_id: str | None = None) -> Flags:
    """Stores the initial flags unless the database has flags already; returns those that it has."""
    with translate_knowledge_errors(), database.begin() as transaction:
        stored = read_flags(transaction)
    return stored if stored and stored.version else _set(database, {}, initial, "initial values", dagster_run_id)


def switch_on(
    database: Database,
    initial: Flags,
    timeouts: FenceSettings,
    *,
    reason: str,
    mode: Mode = "automatic",
    schema_change: SchemaChangeSettings | None = None,
    dagster_run_id: str | None = None,
) -> tuple[Flags, Fence]:
    """Sets dual write (idempotent), waits until every process has acknowledged it, and records the fence.

    Installs the capture in the database where `mode` says so, or where it is automatic and some session that is not our service
    writes. Raises `PreconditionError` when the schema is not as phase 1 leaves it, no process is live and nobody else writes, or
    somebody writes beside the service in mode `application`; `BlockedError` naming what does not acknowledge or end; `BusyError`
    during a rollback of dual write or of the backfill.
    """
    require_proposal_schema(database)
    started, limits = timeouts.clock(), schema_change or SchemaChangeSettings()
    with database.connect("dual write") as connection, advisory_lock(connection, BACKFILL, shared=True):
        captures = mode == "database" or (mode == "automatic" and capture.is_installed(connection))
        if not captures and not live_writers(connection, timeouts.live_seconds):
            captures = _others_write(connection, timeouts, mode)
        flags = _set(database, {"dual_write": True}, initial, reason, dagster_run_id)
        processes = wait_until_fenced(database, flags, timeouts, need_one=not captures)
        if not captures:
            observed = watch(connection, timeouts, new_only=True)
            captures = observed.total > 0
            if captures and mode == "application":
                raise PreconditionError(uncaptured(observed))
        if captures:
            capture.install(connection, limits)
        seconds = round(timeouts.clock() - started, 3)
        return flags, record(database, flags, processes, seconds, dagster_run_id=dagster_run_id)


def _others_write(connection: Connection, timeouts: FenceSettings, mode: Mode) -> bool:
    """Whether sessions that are not our service write, of which no process is live; raises if none is observed."""
    observed = watch(connection, timeouts, new_only=False)
    if mode == "automatic" and observed.total:
        return True
    raise PreconditionError(
        "No process of the knowledge service reports, so none can acknowledge dual write. Start it (knowledge-migration serve) "
        f"and run this again. Observed: {observed.message} If another application writes topics or atoms, set "
        "DUAL_WRITE_CAPTURE=database: triggers then write the proposals of every session. If no process writes at all, skip "
        "this phase and set KNOWLEDGE_MIGRATION_NO_LIVE_WRITERS=true for the backfill. Nothing was changed."
    )


def switch_off(database: Database, initial: Flags, *, reason: str, dagster_run_id: str | None = None) -> Flags:
    """Switches dual write off; raises `PreconditionError` while proposals are enabled: roll the cutover back first."""
    version = require_proposals_off(
        database, "without dual write the others would write directly, and nothing could be rolled back"
    )
    return _set(database, {"dual_write": False}, initial, reason, dagster_run_id, expected_version=version)


def require_proposals_off(database: Database, otherwise: str) -> int | None:
    """The version of the flags, None before they are set; raises `PreconditionError` while a user's extractions are proposals."""
    with translate_knowledge_errors(), database.begin() as transaction:
        flags = read_flags(transaction)
    if flags and flags.enabled:
        raise PreconditionError(
            f"Proposals are enabled for some users: {otherwise}. Switch proposals off first (knowledge-migration rollback "
            "instant --reason …)."
        )
    return flags.version if flags else None


def _set(
    database: Database,
    changes: dict[str, bool],
    initial: Flags,
    reason: str,
    dagster_run_id: str | None,
    *,
    expected_version: int | None = None,
) -> Flags:
    with translate_knowledge_errors(), database.begin() as transaction:
        return set_flags(
            transaction,
            changes,
            initial=initial,
            actor=audit.operator(),
            reason=reason,
            expected_version=expected_version,
            dagster_run_id=dagster_run_id,
        )
