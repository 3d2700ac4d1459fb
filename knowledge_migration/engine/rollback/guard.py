"""The rollback guard (strategy §8.1): evaluates the breaches and rolls back automatically, once per breach.

It acts only where the whole 95 % interval is beyond the breach. It changes the flags only if they still have the evaluated
version, so two guards act once. A change of the flags restarts every window, so one cause never leads to two actions.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from knowledge_migration.engine.cutover.evaluation import Evaluation, evaluate
from knowledge_migration.engine.cutover.state import CutoverState, read_cutover_state
from knowledge_migration.engine.foundation import audit
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.errors import BlockedError, PreconditionError
from knowledge_migration.engine.rollback.flags import plan_rollback, roll_back
from knowledge_migration.knowledge.audit import AuditAction, phase
from knowledge_migration.knowledge.flags import Flags, FlagsError, history, set_flags
from knowledge_migration.knowledge.stages import RollbackKind
from knowledge_migration.settings import GuardSettings, Settings
from knowledge_migration.thresholds import BreachAction

ACTOR = "rollback guard"
SEVEREST_FIRST: tuple[BreachAction, ...] = ("instant", "partial", "lower threshold")
THRESHOLD_STEP = 0.05
FENCE_SECONDS = 20.0  # a tick of Dagster has 60 s


@dataclass(frozen=True)
class GuardTick:
    """One tick: `action` is None where the guard did nothing, `problem` says what is incomplete although the flags are set."""

    state: str
    message: str
    evaluations: tuple[Evaluation, ...] = ()
    action: BreachAction | None = None
    problem: str | None = None
    breaches: tuple[Evaluation, ...] = ()

    def saying(self, message: str) -> "GuardTick":
        """The same tick with a message before that of the breach."""
        return replace(self, message=f"{message} {self.message}")


def guard(
    database: Database,
    initial: Flags,
    settings: Settings,
    *,
    now: datetime,
) -> GuardTick:
    """Evaluates once, and acts on a breach. Raises `PreconditionError` where nobody has set the flags."""
    state = read_cutover_state(database)
    if state.state in ("off", "dual_write"):
        return GuardTick(state.state, f"Proposals are off ({state.state}), so there is nothing to roll back.")
    evaluations = evaluate(
        database,
        [gate.watched for gate in settings.cutover.gates if gate.breach is not None],
        state,
        now=now,
        spacing_seconds=settings.cutover.spacing_seconds,
        recorded_as=f"guard of {state.state}",
    )
    breaches = tuple(evaluation for evaluation in evaluations if evaluation.verdict == "fail")
    actions = {breach.gate.on_breach for breach in breaches if breach.gate.on_breach}
    if not actions:
        message = f"{state.state}: none of {len(evaluations)} watched metrics is in breach."
        return GuardTick(state.state, message, tuple(evaluations))
    action = min(actions, key=SEVEREST_FIRST.index)
    reason = " ".join(breach.sentence for breach in breaches)
    tick = GuardTick(state.state, reason, tuple(evaluations), breaches=breaches)
    if action == "lower threshold":
        return _lower_threshold(database, initial, state, settings.guard, tick, now)
    fence = settings.fence.replaced(seconds=min(settings.fence.seconds, FENCE_SECONDS))
    return _roll_back(database, initial, state, settings.replaced(fence=fence), tick, action)


def _roll_back(
    database: Database,
    initial: Flags,
    state: CutoverState,
    settings: Settings,
    tick: GuardTick,
    kind: RollbackKind,
) -> GuardTick:
    try:
        if not plan_rollback(database, initial, settings, kind).changes:
            return tick.saying(f"In breach, but the flags are already as low as a {kind} rollback sets them.")
        roll_back(
            database,
            initial,
            settings,
            kind,
            reason=f"automatic: {tick.message}",
            actor=ACTOR,
            expected_version=state.flags.version,
        )
    except PreconditionError as error:
        return tick.saying(f"In breach, but nothing was changed: {error}")
    except BlockedError as error:
        return replace(tick.saying(f"Rolled back ({kind})."), action=kind, problem=str(error))
    return replace(tick.saying(f"Rolled back ({kind})."), action=kind)


def _lower_threshold(
    database: Database, initial: Flags, state: CutoverState, limits: GuardSettings, tick: GuardTick, now: datetime
) -> GuardTick:
    """A lower threshold empties the queue (the strategy's higher one would fill it, ERRATA C5); never below the floor."""
    flags = state.flags
    threshold = flags.auto_approve_threshold
    if not flags.auto_approve_high_confidence:
        return tick.saying("The queue is too long, and automatic approval is off: review it.")
    lower = round(max(limits.threshold_floor, threshold - THRESHOLD_STEP), 4)
    if lower >= threshold:
        return tick.saying(f"The queue is too long, and the threshold is at its floor ({threshold:g}): review it.")
    if _lowered_lately(database, now, limits.relief_minutes):
        minutes = f"{limits.relief_minutes:g} min"
        return tick.saying(f"The queue is too long; the threshold was lowered less than {minutes} ago.")
    changes, reason = {"auto_approve_threshold": lower}, f"automatic: {tick.message}"
    before = {"auto_approve_threshold": threshold}
    try:
        with database.begin() as transaction:
            set_flags(transaction, changes, initial=initial, actor=ACTOR, reason=reason, expected_version=flags.version)
            action = AuditAction.LOWER_THRESHOLD
            audit.record(transaction, action, phase(4), before=before, after=changes, reason=reason, actor=ACTOR)
    except FlagsError as error:
        return tick.saying(f"In breach, but nothing was changed: {error}")
    message = f"Lowered the threshold of automatic approval from {threshold:g} to {lower:g}."
    return replace(tick.saying(message), action="lower threshold")


def _lowered_lately(database: Database, now: datetime, minutes: float) -> bool:
    with database.begin() as transaction:
        changes = [change for change in history(transaction, 100) if change["actor"] == ACTOR]
    return bool(changes) and now - changes[0]["at"] < timedelta(minutes=minutes)
