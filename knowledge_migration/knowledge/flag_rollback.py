"""The rollback by flags, `instant` or `partial` (strategy §8.2), for the API, the page, the command, the job and the guard.

One transaction applies the flags, so users are on the old path whatever fails afterwards. `complete_rollback` then waits for
acknowledgement and replays or parks stranded proposals. A second run completes a killed one; the flags stay as they were set.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import sqlalchemy as sa

from knowledge_migration.knowledge import audit
from knowledge_migration.knowledge.flags import Flags, StaleFlagsError, changed, read_flags, set_flags
from knowledge_migration.knowledge.proposals.stranded import OnSettled, Settled, Stranded, settle, stranded
from knowledge_migration.knowledge.stages import RollbackKind, rollback_flags
from knowledge_migration.knowledge.writers import FenceError, drain, live_processes, wait_until_acknowledged
from knowledge_migration.settings import FenceSettings

FLAG_ROLLBACK_LOCK = 0x6B6E6F77_666C6970
POLL_SECONDS = 0.05

OnAcknowledged = Callable[[float, int], None]


@dataclass(frozen=True)
class FlagRollback:
    """A rollback that somebody asks for; `threshold` is the confidence from which direct mode writes."""

    kind: RollbackKind
    initial: Flags
    actor: str
    reason: str
    threshold: float
    timeouts: FenceSettings
    expected_version: int | None = None
    dagster_run_id: str | None = None


@dataclass(frozen=True)
class FlagRollbackPlan:
    """The flags that a rollback would change, the processes that would acknowledge them, the proposals it would strand."""

    before: Flags
    after: Flags
    processes: tuple[str, ...]
    stranded: Stranded

    @property
    def changes(self) -> dict[str, object]:
        """The flags that would change, with their new values."""
        before = self.before.values
        return {name: value for name, value in self.after.values.items() if value != before[name]}


@dataclass(frozen=True)
class FlagRollbackResult:
    """The flags before and after, and the seconds until each step was done; None and empty for steps not done yet.

    `stranded` counts the proposals that waited when the flags were applied; None where nobody counted them.
    """

    before: Flags
    after: Flags
    apply_seconds: float
    stranded: int | None = None
    acknowledged_seconds: float | None = None
    processes: tuple[str, ...] = ()
    settled: Settled = field(default_factory=lambda: Settled({}, {}))
    seconds: float | None = None


def plan_flag_rollback(
    connection: sa.Connection, kind: RollbackKind, initial: Flags, *, live_seconds: float, threshold: float
) -> FlagRollbackPlan:
    """Reads only; raises `FlagsError` where this rollback is not possible."""
    before = read_flags(connection) or initial
    after = changed(before, rollback_flags(before, kind))
    return FlagRollbackPlan(before, after, live_processes(connection, live_seconds), stranded(connection, threshold))


def apply_flags(connection: sa.Connection, rollback: FlagRollback) -> tuple[Flags, Flags]:
    """Sets the flags, with audit entry and notification; returns them before and after. Two at once run one by one.

    Raises `FlagsError` where this rollback is not possible, `StaleFlagsError` where the flags are not of
    `expected_version`.
    """
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(FLAG_ROLLBACK_LOCK)))
    before = read_flags(connection) or rollback.initial
    if rollback.expected_version not in (None, before.version):
        raise StaleFlagsError(
            f"The flags have version {before.version}, not {rollback.expected_version}: somebody changed them. Read them "
            "again."
        )
    changes = rollback_flags(before, rollback.kind)
    if not changes:
        return before, before
    after = set_flags(
        connection,
        changes,
        initial=rollback.initial,
        actor=rollback.actor,
        reason=rollback.reason,
        expected_version=rollback.expected_version,
        dagster_run_id=rollback.dagster_run_id,
    )
    if after != before:
        entry = audit.entry(
            audit.AuditAction(f"rollback {rollback.kind}"),
            audit.phase(4),
            before=before.values,
            after=after.values,
            actor=rollback.actor,
            reason=rollback.reason,
            dagster_run_id=rollback.dagster_run_id,
        )
        connection.execute(entry)
    return before, after


def complete_rollback(
    engine: sa.Engine,
    rollback: FlagRollback,
    applied: FlagRollbackResult,
    *,
    on_acknowledged: OnAcknowledged | None = None,
    on_settled: OnSettled | None = None,
) -> FlagRollbackResult:
    """Waits until every live process has acknowledged the applied flags, then settles what they have stranded.

    Raises `FenceError` naming a process that does not acknowledge, or an older transaction that is still open; the
    flags are set then, and in the second case the proposals that are visible are settled.
    """
    started = time.perf_counter() - applied.apply_seconds
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        timeouts = rollback.timeouts.replaced(poll_seconds=POLL_SECONDS)
        processes = wait_until_acknowledged(connection, applied.after, timeouts, need_one=False)
        acknowledged_seconds = time.perf_counter() - started
        if on_acknowledged:
            on_acknowledged(acknowledged_seconds, len(processes))
        settled = applied.settled
        if not applied.after.enabled:
            settled = _settle_twice(engine, connection, rollback, on_settled)
    return replace(
        applied,
        acknowledged_seconds=acknowledged_seconds,
        processes=processes,
        settled=settled,
        seconds=time.perf_counter() - started,
    )


def _settle_twice(
    engine: sa.Engine, connection: sa.Connection, rollback: FlagRollback, on_settled: OnSettled | None
) -> Settled:
    """Settles what is visible at once, then what transactions older than the change of flags have still written."""
    first = settle(engine, rollback.threshold, actor=rollback.actor, reason=rollback.reason, on_settled=on_settled)
    try:
        drain(connection, rollback.timeouts)
    except FenceError as error:
        raise FenceError(
            f"The flags are set and acknowledged; {first.sentence}. {error} If these transactions belong to the service, "
            "they may strand more proposals: see the check no_pending_topic_proposal_is_stranded."
        ) from error
    second = settle(engine, rollback.threshold, actor=rollback.actor, reason=rollback.reason, on_settled=on_settled)
    return first.plus(second)
