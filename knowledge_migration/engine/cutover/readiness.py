"""The requirements of a promotion (strategy §6, §11.1), each with the remedy where it is missing.

Reads, and writes nothing but the verdicts of the gates. A requirement that cannot be read is missing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from knowledge_migration.engine.backfill.run import run_status
from knowledge_migration.engine.backup.files import verify_file
from knowledge_migration.engine.cutover.evaluation import Evaluation, evaluate, needed_for
from knowledge_migration.engine.cutover.gates import duration
from knowledge_migration.engine.cutover.pause import pause_requirement
from knowledge_migration.engine.cutover.state import CutoverState, read_cutover_state
from knowledge_migration.engine.dual_write.fence import live_writers, proven_fence
from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.check_outcome import CheckOutcome
from knowledge_migration.engine.foundation.check_record import CheckRecord
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.requirement import Requirement, read_requirement
from knowledge_migration.knowledge.flags import SHADOWING_STATES
from knowledge_migration.settings import Settings
from knowledge_migration.thresholds import Stage

DRILL_EVIDENCE = "rollback_drill"
INTEGRITY_JOB = "validation_integrity"


@dataclass(frozen=True)
class Readiness:
    """Every requirement of one stage at one moment, with the evaluations of the gates."""

    stage: Stage
    state: CutoverState
    requirements: tuple[Requirement, ...]
    evaluations: tuple[Evaluation, ...] = ()
    window_closed: bool = False

    @property
    def missing(self) -> tuple[Requirement, ...]:
        """The requirements that are not met."""
        return tuple(requirement for requirement in self.requirements if not requirement.met)

    @property
    def ready(self) -> bool:
        """Whether nothing is missing."""
        return not self.missing


def readiness(
    database: Database,
    settings: Settings,
    stage: Stage,
    checks: Sequence[CheckRecord],
    *,
    now: datetime,
    ages_matter: bool = True,
    dagster_run_id: str | None = None,
) -> Readiness:
    """Reads every requirement; `ages_matter` False ignores the age of checks where they are about to run again."""
    state = read_cutover_state(database)
    spacing_seconds = settings.cutover.spacing_seconds
    evaluations = evaluate(
        database, settings.cutover.gates, state, now=now, spacing_seconds=spacing_seconds, dagster_run_id=dagster_run_id
    )
    needed = {gate.metric for gate in needed_for(settings.cutover.gates, stage)}
    with database.connect("cutover readiness") as connection:
        requirements = (
            _in_order(state, stage),
            pause_requirement(connection),
            _baked(state, settings, stage, now),
            _writers(connection, settings),
            read_requirement("dual write", "proven, and on since then", lambda: _fence(database)),
            _backfilled(connection),
            *(_gate(evaluation) for evaluation in evaluations if evaluation.gate.metric in needed),
            *(_check(record, settings, now, ages_matter=ages_matter) for record in checks),
            backup_requirement(connection, settings, now),
            read_requirement(
                "rollback drill",
                _within(24 * settings.rehearsal.drill_max_age_days),
                lambda: _drill(connection, settings),
            ),
        )
    closed = state.state == stage == "full_cutover" and state.hours(now) >= settings.cutover.rollback_window_hours
    return Readiness(stage, state, requirements, tuple(evaluations), closed)


def drill_outcome(connection: Connection, max_age_days: float) -> CheckOutcome:
    """Whether the latest drill is fresh and every rollback in it was equal and in time.

    Raises `PreconditionError` when there is none or it is too old.
    """
    drill = evidence.require(
        connection,
        DRILL_EVIDENCE,
        made_by="asset rollback_drill (or knowledge-migration drill)",
        max_age_hours=24 * max_age_days,
    )
    paths = drill.content["paths"]
    failed = [path for path in paths if not path["passed"]] if paths else [{"path": "no rollback was drilled"}]
    seconds = {f"seconds_of_{path['path'].replace(' ', '_')}": path["seconds"] for path in paths}
    return CheckOutcome(
        name="every_rollback_is_equal_and_in_time",
        count=len(failed),
        sample=tuple(failed),
        description=f"On a clone {_part(drill.content)}every rollback left the legacy tables equal, within its time limit.",
        remedy="Correct the rollbacks named here before you continue; then drill again (knowledge-migration drill).",
        numbers={"drilled_at": drill.recorded_at, **seconds},
    )


def _part(drilled: Mapping[str, Any]) -> str:
    """What a clone with a part of production's rows is called."""
    share = drilled.get("share", 1.0)
    return "of production " if share == 1 else f"with {100 * share:.3g} % of production's topics and atoms "


def _in_order(state: CutoverState, stage: Stage) -> Requirement:
    message = f"the cutover state is {state.state} since {state.since:%Y-%m-%d %H:%M:%S} UTC."
    remedy = f"Next is {state.next_stage or 'dual write (phase 2)'}, not {stage}."
    met = stage in (state.next_stage, state.state)
    return Requirement("stages in order", met, message, remedy, essential=True, needed=f"the stage before {stage}")


def _baked(state: CutoverState, settings: Settings, stage: Stage, now: datetime) -> Requirement:
    needed = timedelta(minutes=0 if state.state == stage else settings.cutover.bake_minutes[stage])
    age = now - state.since
    message = f"{state.state} has lasted {duration(age.total_seconds())} of {duration(needed.total_seconds())}."
    remedy = f"Wait until {state.since + needed:%Y-%m-%d %H:%M:%S} UTC."
    return Requirement("bake time", age >= needed, message, remedy, needed=duration(needed.total_seconds()))


def _writers(connection: Connection, settings: Settings) -> Requirement:
    live = live_writers(connection, settings.fence.live_seconds)
    direct = [row["process"] for row in live if row["mode"] not in SHADOWING_STATES]
    message = f"{len(live)} processes of the service are live" + (
        f"; {', '.join(direct)} write directly." if direct else "."
    )
    remedy = "Start the service (knowledge-migration serve), or stop the processes that do not acknowledge the flags."
    needed = "at least one, and none that writes directly"
    return Requirement("live processes", bool(live) and not direct, message, remedy, essential=True, needed=needed)


def _fence(database: Database) -> Requirement:
    fence = proven_fence(database)
    return Requirement("dual write", True, f"proven at {fence.proven_at:%Y-%m-%d %H:%M} UTC and on since then.")


def _backfilled(connection: Connection) -> Requirement:
    status = run_status(connection)
    remedy = "Run phase 3 to its end (job phase_3_completion)."
    message = f"the backfill is {status or 'not begun'}."
    return Requirement("backfill", status == "completed", message, remedy, needed="completed")


def _gate(evaluation: Evaluation) -> Requirement:
    gate = evaluation.gate
    needed = f"{gate.limit}, {gate.passes_in_a_row} times in a row, from at least {gate.minimum_sample:,} samples"
    remedy = gate_remedy(evaluation)
    return Requirement(f"gate {gate.metric}", evaluation.met, evaluation.sentence, remedy, needed=needed)


def gate_remedy(evaluation: Evaluation) -> str:
    """What to do about a gate that is not met."""
    again = "The sensor cutover_promotion and the asset cutover_gates evaluate it again."
    if evaluation.verdict == "inconclusive":
        return f"Wait for more samples, or generate traffic. {again}"
    if evaluation.verdict == "fail":
        return f"Find the cause ({evaluation.gate.meaning.rstrip('.')}) and remove it. {again}"
    return f"Wait for the next passes. {again}"


def _check(record: CheckRecord, settings: Settings, now: datetime, *, ages_matter: bool) -> Requirement:
    limit = 60 * settings.cutover.check_max_age_minutes
    name = f"check {record.asset}.{record.name}" if record.asset else f"check {record.name}"
    remedy = f"Run the job {INTEGRITY_JOB}."
    needed = f"passed within {duration(limit)}"
    if record.at is None:
        return Requirement(name, not ages_matter, "it has never run to its end.", remedy, needed=needed)
    seconds = (now - record.at).total_seconds()
    if not record.succeeded:
        message = f"it did not pass {duration(seconds)} ago. {record.message}".rstrip()
        return Requirement(name, False, message, f"Remove the cause. {remedy}", needed=needed)
    message = f"it passed {duration(seconds)} ago (limit {duration(limit)})."
    return Requirement(name, seconds <= limit or not ages_matter, message, remedy, needed=needed)


def backup_requirement(connection: Connection, settings: Settings, now: datetime) -> Requirement:
    """A verified backup that is fresh and unaltered."""
    limit = settings.preparation.backup_max_age_hours
    return read_requirement("verified backup", _within(limit), lambda: _backup(connection, limit, now))


def _within(hours: float) -> str:
    return f"passed within {duration(3600 * hours)}"


def _backup(connection: Connection, limit: float, now: datetime) -> Requirement:
    backup = evidence.require(connection, "verified_backup", made_by="asset verified_backup (job phase_0_preparation)")
    age = backup.age_hours(now)
    if age > limit:
        message, remedy = f"it is {age:.1f} h old (limit {limit:g} h).", "Materialize verified_backup again."
        return Requirement("verified backup", False, message, remedy, needed=_within(limit))
    verify_file(backup.content)
    message = f"it is {age:.1f} h old, restored, compared and unaltered."
    return Requirement("verified backup", True, message, needed=_within(limit))


def _drill(connection: Connection, settings: Settings) -> Requirement:
    outcome = drill_outcome(connection, settings.rehearsal.drill_max_age_days)
    needed = _within(24 * settings.rehearsal.drill_max_age_days)
    return Requirement("rollback drill", outcome.passed, outcome.sentence, needed=needed)
