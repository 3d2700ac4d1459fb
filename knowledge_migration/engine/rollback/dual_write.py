"""The way back from phase 2: dual write off, then its shadows away (strategy §4.3, ERRATA W13).

First the switch, so that nothing new appears; then, when everybody obeys, the proposals that were written beside direct
writes are unlinked and deleted in batches. The runs stay, and so does what a reviewer has decided about. Proposals of low
confidence that still wait exist nowhere else: they stay too. Killed anywhere, a second run goes on.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from knowledge_migration.engine.backfill.batch import TRANSIENT_ERRORS, Locked, skipping
from knowledge_migration.engine.backfill.control import Limits
from knowledge_migration.engine.backfill.runner import WORK, translate_db_errors
from knowledge_migration.engine.dual_write.fence import wait_until_fenced
from knowledge_migration.engine.dual_write.switch import switch_off
from knowledge_migration.engine.foundation import audit
from knowledge_migration.engine.foundation.advisory_lock import advisory_lock
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import BlockedError
from knowledge_migration.engine.foundation.sql_files import statement
from knowledge_migration.knowledge.audit import AuditAction
from knowledge_migration.knowledge.entity_kinds import KINDS, EntityKind
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.knowledge.writers import FenceTimeouts

BEFORE_ALL = UUID(int=0)

OnRows = Callable[[str, int], None]


@dataclass(frozen=True)
class DualWriteExtent:
    """How many shadows there are, and how many proposals wait that exist nowhere else, per table."""

    shadows: dict[str, int]
    pending: dict[str, int]


@dataclass(frozen=True)
class DualWriteRollback:
    """What was taken back and what stays, per table, and how long it took."""

    unlinked_rows: dict[str, int]
    deleted_proposals: dict[str, int]
    kept_pending: dict[str, int]
    seconds: float


def dual_write_extent(connection: Connection) -> DualWriteExtent:
    """What a rollback would delete and keep. Reads only."""
    shadows, pending = {}, {}
    for kind in KINDS:
        query = statement("rollback/dual_write_extent", proposals=f"public.{kind.proposal_table}")
        row = connection.execute(query).fetchone()
        assert row is not None
        shadows[kind.proposal_table], pending[kind.proposal_table] = row["shadows"], row["pending"]
    return DualWriteExtent(shadows, pending)


def rollback_dual_write(
    database: Database,
    initial: Flags,
    timeouts: FenceTimeouts,
    *,
    reason: str,
    limits: Limits | None = None,
    batch_size: int = 1_000,
    dagster_run_id: str | None = None,
    on_rows: OnRows | None = None,
) -> DualWriteRollback:
    """Switches dual write off and removes its shadows; does nothing twice. Audited when it begins and when it is done.

    Raises `PreconditionError` while proposals are enabled, `BlockedError` when a process does not obey or a user never
    lets go of a row (dual write is off then), `BusyError` during a backfill.
    """
    started, limits = time.perf_counter(), limits or Limits()
    flags = switch_off(database, initial, reason=reason, dagster_run_id=dagster_run_id)
    settings = {"lock_timeout": str(limits.lock_timeout_ms), "statement_timeout": str(limits.statement_timeout_ms)}
    with (
        translate_db_errors(database, "the rollback of dual write", again="the rollback"),
        database.connect("dual write rollback", settings=settings) as connection,
        advisory_lock(connection, WORK),
    ):
        wait_until_fenced(database, flags, timeouts, need_one=False)
        extent = dual_write_extent(connection)
        audited: dict[str, Any] = {"reason": reason, "dagster_run_id": dagster_run_id, "before": vars(extent)}
        audit.record(connection, AuditAction.ROLLBACK_DUAL_WRITE_BEGUN, "phase 2", **audited)
        taken = {kind: _take_back(connection, kind, batch_size, limits, on_rows) for kind in KINDS}
        left = dual_write_extent(connection)
        audit.record(connection, AuditAction.ROLLBACK_DUAL_WRITE, "phase 2", after=vars(left), **audited)
    return DualWriteRollback(
        {kind.table: unlinked for kind, (unlinked, _) in taken.items()},
        {kind.proposal_table: deleted for kind, (_, deleted) in taken.items()},
        left.pending,
        time.perf_counter() - started,
    )


def _take_back(
    connection: Connection, kind: EntityKind, batch_size: int, limits: Limits, on_rows: OnRows | None
) -> tuple[int, int]:
    """Passes over the shadows of one table: first without those that a user holds, then waiting for them one by one."""
    unlinked = deleted = 0
    for size, locked in ((batch_size, "skip"), (1, "wait")):
        after: UUID | None = BEFORE_ALL
        while after is not None:
            row = _patiently(connection, kind, {"after": after, "batch_size": size}, locked, limits)  # type: ignore[arg-type]
            unlinked, deleted, after = unlinked + row["unlinked_rows"], deleted + row["deleted_rows"], row["through_id"]
            if on_rows and row["deleted_rows"]:
                on_rows(kind.proposal_table, row["deleted_rows"])
    return unlinked, deleted


def _patiently(
    connection: Connection, kind: EntityKind, parameters: dict[str, Any], locked: Locked, limits: Limits
) -> dict[str, Any]:
    """One batch; tried again with growing pauses while a lock or a timeout is in the way."""
    names = {"table": f"public.{kind.table}", "proposals": f"public.{kind.proposal_table}"}
    query = statement("rollback/dual_write_batch", **names, skip_locked=skipping(locked))
    for attempt in range(limits.retry_attempts):
        try:
            row = connection.execute(query, parameters).fetchone()
            assert row is not None
            return row
        except TRANSIENT_ERRORS as error:
            cause = error
        limits.sleep(min(0.1 * 2**attempt, 5.0))
    raise BlockedError(
        f"The rollback of dual write was stopped {limits.retry_attempts} times at {kind.table}, last by "
        f"{cause.sqlstate}. A user's transaction holds rows of it: end that transaction or wait, then run the rollback "
        "again; dual write is off, and what is taken back stays so."
    ) from cause
