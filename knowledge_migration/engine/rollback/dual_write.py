"""The rollback of phase 2: switches dual write off, removes the capture, then the shadow proposals (strategy §4.3, ERRATA W13).

Once every process has acknowledged the switch, the proposals of direct writes are unlinked and deleted in batches; the audit
log keeps their values. Rows, runs, and proposals that a reviewer has decided or has to decide stay. A second run completes a
killed one.
"""

import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from knowledge_migration.engine.backfill.batch import Locked
from knowledge_migration.engine.backfill.runner import translate_db_errors
from knowledge_migration.engine.backfill.triggers import apply_choice
from knowledge_migration.engine.dual_write.fence import wait_until_fenced
from knowledge_migration.engine.dual_write.switch import switch_off
from knowledge_migration.engine.foundation import audit
from knowledge_migration.engine.foundation.advisory_lock import BACKFILL, advisory_lock
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.sql_files import statement, text_of
from knowledge_migration.engine.rollback.unlinking import OnRows, ProposalRollback, Unlinking, session_settings
from knowledge_migration.engine.schema import capture
from knowledge_migration.knowledge.audit import PROPOSAL, AuditAction
from knowledge_migration.knowledge.entity_kinds import KINDS, EntityKind
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.settings import BackfillSettings, FenceSettings, SchemaChangeSettings

FIRST = UUID(int=0)
PASSES: tuple[Locked, ...] = ("skip", "wait", "skip")
"""The last one takes the proposals of rows that a user deleted while the second one waited for them."""


@dataclass(frozen=True)
class DualWriteExtent:
    """The number of shadows, and of pending proposals that exist nowhere else, per table."""

    shadows: dict[str, int]
    pending: dict[str, int]


def dual_write_extent(connection: Connection) -> DualWriteExtent:
    """The proposals that a rollback would delete and keep. Reads only."""
    shadows, pending = {}, {}
    for kind in KINDS:
        is_shadow = statement("rollback/is_shadow")
        query = statement("rollback/dual_write_extent", proposals=f"public.{kind.proposal_table}", is_shadow=is_shadow)
        row = connection.execute(query).fetchone()
        assert row is not None  # aggregates
        shadows[kind.proposal_table], pending[kind.proposal_table] = row["shadows"], row["pending"]
    return DualWriteExtent(shadows, pending)


def _entry_of_removal(kind: EntityKind) -> dict[str, str]:
    return {"action": AuditAction.REMOVE_SHADOW, "subject": kind.name + PROPOSAL}


def rollback_dual_write(
    database: Database,
    initial: Flags,
    timeouts: FenceSettings,
    *,
    reason: str,
    limits: BackfillSettings,
    schema_change: SchemaChangeSettings | None = None,
    batch_size: int = 1_000,
    dagster_run_id: str | None = None,
    on_rows: OnRows | None = None,
) -> ProposalRollback:
    """Switches dual write off and removes its shadows; a second run does nothing. Audited when it begins and ends.

    Raises `PreconditionError` while proposals are enabled, `BlockedError` when a process does not acknowledge or a user
    does not release a row (dual write is off then), `BusyError` during a backfill or a switch (nothing is changed then).
    """
    started = time.perf_counter()
    with (
        translate_db_errors(database, "the rollback of dual write", again="the rollback"),
        database.connect("dual write rollback", settings=session_settings(limits)) as connection,
        advisory_lock(connection, BACKFILL),
    ):
        apply_choice(connection, limits.triggers)
        flags = switch_off(database, initial, reason=reason, dagster_run_id=dagster_run_id)
        wait_until_fenced(database, flags, timeouts, need_one=False)
        capture.remove(connection, schema_change or SchemaChangeSettings())
        before = vars(dual_write_extent(connection))
        audited: dict[str, Any] = {"reason": reason, "dagster_run_id": dagster_run_id, "before": before}
        audit.record(connection, AuditAction.ROLLBACK_DUAL_WRITE_BEGUN, "phase 2", **audited)
        by = {"actor": audit.operator(), "reason": reason, "dagster_run_id": dagster_run_id}
        if any(before["shadows"].values()):
            connection.execute(text_of("rollback/reopen_run"))
        work = [
            Unlinking(connection, kind, by | _entry_of_removal(kind), batch_size, limits, on_rows) for kind in KINDS
        ]
        for unlinking in work:
            for locked in PASSES:
                size = batch_size if locked == "skip" else 1
                unlinking.pass_over("rollback/dual_write_batch", FIRST, size, locked)
        connection.execute(text_of("rollback/captured_runs"))
        left = dual_write_extent(connection)
        audit.record(connection, AuditAction.ROLLBACK_DUAL_WRITE, "phase 2", after=vars(left), **audited)
    return ProposalRollback(
        {unlinking.kind.table: unlinking.unlinked for unlinking in work},
        {unlinking.kind.proposal_table: unlinking.deleted for unlinking in work},
        time.perf_counter() - started,
        left.pending,
    )
