"""The rollback by flags for the command, the job, the guard and the other rollbacks; it waits until every step is done."""

import time
from collections.abc import Callable

from knowledge_migration.engine.foundation import audit
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.errors import translate_knowledge_errors
from knowledge_migration.knowledge.flag_rollback import (
    FlagRollback,
    FlagRollbackPlan,
    FlagRollbackResult,
    OnAcknowledged,
    apply_flags,
    complete_rollback,
    plan_flag_rollback,
)
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.knowledge.proposals.stranded import OnSettled
from knowledge_migration.knowledge.stages import RollbackKind
from knowledge_migration.settings import Settings


def plan_rollback(
    database: Database,
    initial: Flags,
    settings: Settings,
    kind: RollbackKind,
) -> FlagRollbackPlan:
    """Reads only; raises `PreconditionError` where this rollback is not possible."""
    with translate_knowledge_errors(), database.begin() as transaction:
        return plan_flag_rollback(
            transaction,
            kind,
            initial,
            live_seconds=settings.fence.live_seconds,
            threshold=settings.service.direct_threshold,
        )


def roll_back(
    database: Database,
    initial: Flags,
    settings: Settings,
    kind: RollbackKind,
    *,
    reason: str,
    actor: str | None = None,
    expected_version: int | None = None,
    dagster_run_id: str | None = None,
    on_applied: Callable[[FlagRollbackResult], None] = lambda _: None,
    on_acknowledged: OnAcknowledged | None = None,
    on_settled: OnSettled | None = None,
) -> FlagRollbackResult:
    """Applies the flags, waits for acknowledgement, settles stranded proposals. Audited; a second run changes nothing.

    Raises `PreconditionError` where this rollback is not possible or the flags are not of `expected_version` any more,
    `BlockedError` naming a process that does not acknowledge, or an older transaction that is still open; the flags are
    set then.
    """
    rollback = FlagRollback(
        kind,
        initial,
        actor or audit.operator(),
        reason,
        settings.service.direct_threshold,
        settings.fence,
        expected_version,
        dagster_run_id,
    )
    started = time.perf_counter()
    with translate_knowledge_errors():
        with database.begin() as transaction:
            before, after = apply_flags(transaction, rollback)
        applied = FlagRollbackResult(before, after, time.perf_counter() - started)
        on_applied(applied)
        with database.engine(pooled=True) as engine:
            return complete_rollback(engine, rollback, applied, on_acknowledged=on_acknowledged, on_settled=on_settled)
