"""The rollback guard (strategy §8.1): looks at what must not happen, and goes back by itself, once per breach.

It acts on sound samples only: all of the 95 % interval has to be beyond the breach. Each act changes the flags only if they
still are what was judged, so two guards act once; and since every window begins anew with a change of the flags, what has
led to one act never leads to another. It needs no promotion to be over: one that waits finds the flags changed and is not
recorded. Everything it does is in the audit log.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from knowledge_migration.engine.cutover.evaluation import Evaluation, evaluate
from knowledge_migration.engine.cutover.gates import BreachAction
from knowledge_migration.engine.cutover.readiness import CutoverRules
from knowledge_migration.engine.cutover.state import CutoverState, position
from knowledge_migration.engine.foundation import audit
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.errors import BlockedError, PreconditionError
from knowledge_migration.engine.rollback.flags import plan_rollback, roll_back
from knowledge_migration.knowledge.audit import AuditAction
from knowledge_migration.knowledge.flags import Flags, FlagsError, history, set_flags
from knowledge_migration.knowledge.stages import RollbackKind
from knowledge_migration.knowledge.writers import FenceTimeouts

ACTOR = "rollback guard"
SEVEREST_FIRST: tuple[BreachAction, ...] = ("instant", "partial", "lower threshold")
THRESHOLD_STEP = 0.05


@dataclass(frozen=True)
class GuardRules:
    """What the guard may do beside going back: how low the threshold of automatic approval may go, and how often."""

    threshold_floor: float = 0.8
    relief_minutes: float = 30.0
    patience_seconds: float = 20.0


@dataclass(frozen=True)
class GuardTick:
    """What was seen and done: `action` None where nothing was; `problem` where the flags are set but not all is done."""

    state: str
    words: str
    evaluations: tuple[Evaluation, ...] = ()
    action: BreachAction | None = None
    problem: str | None = None
    breaches: tuple[Evaluation, ...] = field(default=())


def guard(
    database: Database,
    initial: Flags,
    rules: CutoverRules,
    limits: GuardRules,
    *,
    now: datetime,
    timeouts: FenceTimeouts | None = None,
) -> GuardTick:
    """Looks once, and acts if it must. Raises `PreconditionError` where nobody has set the flags."""
    standing = position(database)
    if standing.state in ("off", "dual_write"):
        return GuardTick(standing.state, f"Proposals are off ({standing.state}): there is nothing to go back from.")
    judged = tuple(
        evaluate(
            database,
            [gate.watched for gate in rules.gates if gate.breach is not None],
            standing,
            now=now,
            spacing_seconds=rules.spacing_seconds,
            recorded_as=f"guard of {standing.state}",
        )
    )
    breaches = tuple(one for one in judged if one.verdict == "fail")
    if not breaches:
        return GuardTick(standing.state, f"{standing.state}: {len(judged)} metrics watched, none is in breach.", judged)
    wanted = sorted({one.gate.on_breach for one in breaches if one.gate.on_breach}, key=SEVEREST_FIRST.index)
    reason = " ".join(one.sentence for one in breaches)
    seen = GuardTick(standing.state, reason, judged, breaches=breaches)
    if wanted[0] == "lower threshold":
        return _lower_threshold(database, initial, standing, limits, seen, now)
    timeouts = timeouts or FenceTimeouts(seconds=limits.patience_seconds, live_seconds=rules.live_seconds)
    return _go_back(database, initial, standing, rules, seen, wanted, timeouts)


def _go_back(
    database: Database,
    initial: Flags,
    standing: CutoverState,
    rules: CutoverRules,
    seen: GuardTick,
    wanted: Sequence[BreachAction],
    timeouts: FenceTimeouts,
) -> GuardTick:
    way: RollbackKind = "instant" if wanted[0] == "instant" else "partial"
    try:
        if not plan_rollback(database, initial, way).changes:
            return replace(seen, words=f"In breach, and the flags are as low as {way} sets them already. {seen.words}")
        roll_back(
            database,
            initial,
            timeouts,
            way,
            reason=f"automatic: {seen.words}",
            actor=ACTOR,
            threshold=rules.direct_threshold,
            expected_version=standing.flags.version,
        )
    except PreconditionError as error:
        return replace(seen, words=f"In breach, but nothing was changed: {error} {seen.words}")
    except BlockedError as error:
        return replace(seen, words=f"Went back ({way}). {seen.words}", action=wanted[0], problem=str(error))
    return replace(seen, words=f"Went back ({way}). {seen.words}", action=wanted[0])


def _lower_threshold(
    database: Database, initial: Flags, standing: CutoverState, limits: GuardRules, seen: GuardTick, now: datetime
) -> GuardTick:
    """A lower threshold empties the queue (the strategy's higher one would fill it, ERRATA C5); never below the floor."""
    flags = standing.flags
    if not flags.auto_approve_high_confidence:
        return replace(seen, words=f"The queue is too long, and automatic approval is off: review it. {seen.words}")
    lower = round(max(limits.threshold_floor, flags.auto_approve_threshold - THRESHOLD_STEP), 4)
    if lower >= flags.auto_approve_threshold:
        words = (
            f"The queue is too long, and the threshold is at its floor ({flags.auto_approve_threshold:g}): review it."
        )
        return replace(seen, words=f"{words} {seen.words}")
    if _lowered_lately(database, now, limits.relief_minutes):
        words = f"The queue is too long; the threshold was lowered less than {limits.relief_minutes:g} minutes ago."
        return replace(seen, words=f"{words} {seen.words}")
    before, reason = {"auto_approve_threshold": flags.auto_approve_threshold}, f"automatic: {seen.words}"
    try:
        with database.begin() as transaction:
            changes = {"auto_approve_threshold": lower}
            set_flags(transaction, changes, initial=initial, actor=ACTOR, reason=reason, expected_version=flags.version)
            audit.record(
                transaction,
                AuditAction.LOWER_THRESHOLD,
                "phase 4",
                before=before,
                after=changes,
                reason=reason,
                actor=ACTOR,
            )
    except FlagsError as error:
        return replace(seen, words=f"In breach, but nothing was changed: {error} {seen.words}")
    words = f"Lowered the threshold of automatic approval from {flags.auto_approve_threshold:g} to {lower:g}."
    return replace(seen, words=f"{words} {seen.words}", action="lower threshold")


def _lowered_lately(database: Database, now: datetime, minutes: float) -> bool:
    with database.begin() as transaction:
        mine = [change for change in history(transaction, 100) if change["actor"] == ACTOR]
    return bool(mine) and now - mine[0]["at"] < timedelta(minutes=minutes)
