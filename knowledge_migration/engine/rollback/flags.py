"""The ways back by flags (strategy §8.2): instant and partial, in one transaction, without a restart and without Dagster.

First the flags, then everything else: users are on the old path at once, whatever fails afterwards. Then it waits until
every live process says that it obeys, and replays or parks the pending proposals that are stranded. Killed anywhere, or
done twice, a second run completes it; the flags stay as they were set.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from knowledge_migration.engine.dual_write.fence import FenceTimeouts, drain, live_writers, wait_until_acknowledged
from knowledge_migration.engine.foundation import audit
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.errors import BlockedError, PreconditionError
from knowledge_migration.knowledge.flag_rollback import flip
from knowledge_migration.knowledge.flags import Flags, FlagsError, changed, read_flags
from knowledge_migration.knowledge.proposals.stranded import OnSettled, Settled, Stranded, settle, stranded
from knowledge_migration.knowledge.stages import FlagRollback, rollback_flags

NOTHING_STRANDED = Settled({}, {})
DIRECT_THRESHOLD = 0.7

OnAcknowledged = Callable[[float, int], None]


@dataclass(frozen=True)
class RollbackPlan:
    """What a way back by flags would change, who would have to obey, and what would be stranded."""

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
class RolledBack:
    """What was done: the flags, seconds for the flip and until the last live process obeyed, and what was stranded."""

    before: Flags
    after: Flags
    apply_seconds: float
    acknowledged_seconds: float
    processes: tuple[str, ...]
    settled: Settled
    seconds: float


def plan_rollback(
    database: Database,
    initial: Flags,
    way: FlagRollback,
    *,
    live_seconds: float = FenceTimeouts.live_seconds,
    threshold: float = DIRECT_THRESHOLD,
) -> RollbackPlan:
    """Reads only; raises `PreconditionError` where the way leads nowhere."""
    with database.begin() as transaction:
        try:
            before = read_flags(transaction) or initial
            after = changed(before, rollback_flags(before, way))
        except FlagsError as error:
            raise PreconditionError(str(error)) from error
        waiting = stranded(transaction, threshold)
    with database.connect("rollback plan") as connection:
        processes = tuple(row["process"] for row in live_writers(connection, live_seconds))
    return RollbackPlan(before, after, processes, waiting)


def roll_back(
    database: Database,
    initial: Flags,
    timeouts: FenceTimeouts,
    way: FlagRollback,
    *,
    reason: str,
    actor: str | None = None,
    threshold: float = DIRECT_THRESHOLD,
    expected_version: int | None = None,
    dagster_run_id: str | None = None,
    on_acknowledged: OnAcknowledged | None = None,
    on_settled: OnSettled | None = None,
) -> RolledBack:
    """Sets the flags, waits for obedience, settles what is stranded. Audited; doing it again changes nothing more.

    Raises `PreconditionError` where the way leads nowhere or the flags are not of `expected_version` any more,
    `BlockedError` naming who does not obey, or which older transaction is still open; the flags are set then, and what
    was stranded so far is settled.
    """
    started = time.perf_counter()
    before, after = _flip(database, initial, way, reason, actor, expected_version, dagster_run_id)
    apply_seconds = time.perf_counter() - started
    with database.connect("rollback") as connection:
        live = wait_until_acknowledged(connection, after, replace(timeouts, poll_seconds=0.05), need_one=False)
    acknowledged_seconds = time.perf_counter() - started
    if on_acknowledged:
        on_acknowledged(acknowledged_seconds, len(live))
    settled = _settle(database, after, timeouts, threshold, reason, actor, on_settled)
    return RolledBack(
        before,
        after,
        apply_seconds,
        acknowledged_seconds,
        tuple(row["process"] for row in live),
        settled,
        time.perf_counter() - started,
    )


def leave_proposals(
    database: Database, initial: Flags, timeouts: FenceTimeouts, *, reason: str, dagster_run_id: str | None = None
) -> RolledBack:
    """The instant way back, as the first step of the ways back that take more away."""
    return roll_back(database, initial, timeouts, "instant", reason=reason, dagster_run_id=dagster_run_id)


def _flip(
    database: Database,
    initial: Flags,
    way: FlagRollback,
    reason: str,
    actor: str | None,
    expected_version: int | None,
    dagster_run_id: str | None,
) -> tuple[Flags, Flags]:
    try:
        with database.begin() as transaction:
            return flip(
                transaction,
                way,
                initial=initial,
                actor=actor or audit.operator(),
                reason=reason,
                expected_version=expected_version,
                dagster_run_id=dagster_run_id,
            )
    except FlagsError as error:
        raise PreconditionError(str(error)) from error


def _settle(
    database: Database,
    flags: Flags,
    timeouts: FenceTimeouts,
    threshold: float,
    reason: str,
    actor: str | None,
    on_settled: OnSettled | None,
) -> Settled:
    """What is visible at once, then what transactions older than the flip have still written."""
    if flags.enabled:
        return NOTHING_STRANDED
    who = actor or audit.operator()
    with database.engine() as engine:
        first = settle(engine, threshold, actor=who, reason=reason, on_settled=on_settled)
        with database.connect("rollback") as connection:
            try:
                drain(connection, timeouts)
            except BlockedError as error:
                raise BlockedError(
                    f"The flags are set and obeyed, and {_words(first)}. But {error} If they belong to the service, "
                    "proposals of theirs may be stranded: the check no_pending_topic_proposal_is_stranded tells."
                ) from error
        second = settle(engine, threshold, actor=who, reason=reason, on_settled=on_settled)
    return Settled(
        {name: first.replayed[name] + count for name, count in second.replayed.items()},
        {name: first.parked[name] + count for name, count in second.parked.items()},
        first.enabled_again or second.enabled_again,
    )


def _words(settled: Settled) -> str:
    replayed, parked = sum(settled.replayed.values()), sum(settled.parked.values())
    return f"{replayed:,} stranded proposals were replayed, {parked:,} parked"
