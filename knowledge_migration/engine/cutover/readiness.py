"""What a promotion needs (strategy §6, §11.1), one requirement after the other, each with what to do where it is missing.

Reads, and writes nothing but the verdicts of the gates. A thing that cannot be seen is missing, never there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from knowledge_migration.engine.backfill.run import run_status
from knowledge_migration.engine.backup.verified_backup import verify_file
from knowledge_migration.engine.cutover.evaluation import Evaluation, evaluate, needed_for
from knowledge_migration.engine.cutover.gates import Gate
from knowledge_migration.engine.cutover.state import CutoverState, position
from knowledge_migration.engine.dual_write.fence import live_writers, proven_fence
from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.check_record import CheckRecord
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration.engine.rehearsal.drill import drill_outcome
from knowledge_migration.knowledge.flags import SHADOWING_STATES
from knowledge_migration.knowledge.stages import Stage


@dataclass(frozen=True)
class CutoverRules:
    """What the settings say about the cutover; times in their units.

    `bake_minutes` is how long the state before a stage must have stood; `spacing_seconds` how far two verdicts lie
    apart to count as two, `rollback_window_hours` how long full cutover must stand until dual write is switched off.
    """

    gates: tuple[Gate, ...]
    bake_minutes: Mapping[Stage, float]
    spacing_seconds: float = 60.0
    check_max_age_minutes: float = 60.0
    backup_max_age_hours: float = 24.0
    drill_max_age_days: float = 7.0
    rollback_window_hours: float = 336.0
    live_seconds: float = 10.0
    direct_threshold: float = 0.7


@dataclass(frozen=True)
class Requirement:
    """One thing that a promotion needs, whether it holds, and what to do where it does not.

    `essential` ones cannot be overridden: without them a promotion makes no sense.
    """

    name: str
    holds: bool
    words: str
    remedy: str = ""
    essential: bool = False

    @property
    def sentence(self) -> str:
        """In plain words."""
        return f"{self.name}: {self.words}" + ("" if self.holds else f" {self.remedy}".rstrip())


@dataclass(frozen=True)
class Readiness:
    """Every requirement of one stage at one moment, with the verdicts that were taken for it."""

    stage: Stage
    position: CutoverState
    requirements: tuple[Requirement, ...]
    evaluations: tuple[Evaluation, ...] = ()
    window_closed: bool = False

    @property
    def missing(self) -> tuple[Requirement, ...]:
        """Those that do not hold."""
        return tuple(one for one in self.requirements if not one.holds)

    @property
    def ready(self) -> bool:
        """Whether nothing is missing."""
        return not self.missing


def readiness(
    database: Database,
    rules: CutoverRules,
    stage: Stage,
    checks: Sequence[CheckRecord],
    *,
    now: datetime,
    ages_matter: bool = True,
    dagster_run_id: str | None = None,
) -> Readiness:
    """Asks for everything; `ages_matter` False leaves out how old the checks are, where they are about to be run again."""
    standing = position(database)
    judged = evaluate(
        database,
        rules.gates,
        standing,
        now=now,
        spacing_seconds=rules.spacing_seconds,
        dagster_run_id=dagster_run_id,
    )
    names = {gate.metric for gate in needed_for(rules.gates, stage)}
    with database.connect("cutover readiness") as connection:
        found = (
            _in_order(standing, stage),
            _baked(standing, rules, stage, now),
            _writers(connection, rules),
            _asked("dual write", lambda: _fence(database)),
            _backfilled(connection),
            *(_gate(one) for one in judged if one.gate.metric in names),
            *(_check(one, rules, now, ages_matter=ages_matter) for one in checks),
            _asked("verified backup", lambda: _backup(connection, rules, now)),
            _asked("rollback drill", lambda: _drill(connection, rules)),
        )
    closed = standing.state == stage == "full_cutover" and standing.hours(now) >= rules.rollback_window_hours
    return Readiness(stage, standing, found, tuple(judged), closed)


def _asked(name: str, ask: Callable[[], Requirement]) -> Requirement:
    """What raises on purpose is missing, in its own words."""
    try:
        return ask()
    except MigrationError as error:
        return Requirement(name, False, str(error))


def _in_order(standing: CutoverState, stage: Stage) -> Requirement:
    holds = stage in (standing.next_stage, standing.state)
    words = f"the flags stand at {standing.state} since {standing.since:%Y-%m-%d %H:%M:%S} UTC."
    first = standing.next_stage or "dual write (phase 2)"
    return Requirement("stages in order", holds, words, f"Next is {first}, not {stage}.", essential=True)


def _baked(standing: CutoverState, rules: CutoverRules, stage: Stage, now: datetime) -> Requirement:
    needed = timedelta(minutes=0 if standing.state == stage else rules.bake_minutes[stage])
    stood = now - standing.since
    words = f"{standing.state} has stood for {_span(stood)} of {_span(needed)}."
    until = standing.since + needed
    return Requirement("bake time", stood >= needed, words, f"Wait until {until:%Y-%m-%d %H:%M:%S} UTC.")


def _span(length: timedelta) -> str:
    seconds = length.total_seconds()
    return (
        f"{seconds / 3600:.1f} h"
        if seconds >= 3600
        else f"{seconds / 60:.1f} min"
        if seconds >= 60
        else f"{seconds:.0f} s"
    )


def _writers(connection: Connection, rules: CutoverRules) -> Requirement:
    live = live_writers(connection, rules.live_seconds)
    wrong = [row["process"] for row in live if row["mode"] not in SHADOWING_STATES]
    words = f"{len(live)} processes of the service are live" + (
        f"; {', '.join(wrong)} write directly." if wrong else "."
    )
    remedy = "Start the service (knowledge-migration serve), or stop the processes that do not obey."
    return Requirement("live processes", bool(live) and not wrong, words, remedy, essential=True)


def _fence(database: Database) -> Requirement:
    fence = proven_fence(database)
    return Requirement("dual write", True, f"proven at {fence.proven_at:%Y-%m-%d %H:%M} UTC and never off since.")


def _backfilled(connection: Connection) -> Requirement:
    status = run_status(connection)
    remedy = "Run phase 3 to its end (job phase_3_completion)."
    return Requirement("backfill", status == "completed", f"the backfill is {status or 'not begun'}.", remedy)


def _gate(one: Evaluation) -> Requirement:
    return Requirement(f"gate {one.gate.metric}", one.holds, one.sentence, "It is evaluated again at every tick.")


def _check(record: CheckRecord, rules: CutoverRules, now: datetime, *, ages_matter: bool) -> Requirement:
    name, remedy = f"check {record.name}", "Run the job cutover_job (it runs them all), or validation."
    if record.at is None:
        return Requirement(name, not ages_matter, "it has never been run to its end.", remedy)
    age = (now - record.at).total_seconds() / 60
    if not record.succeeded:
        return Requirement(name, False, f"it did not pass {age:.0f} minutes ago. {record.message}".rstrip(), remedy)
    fresh = age <= rules.check_max_age_minutes or not ages_matter
    return Requirement(name, fresh, f"passed {age:.0f} minutes ago (limit {rules.check_max_age_minutes:g}).", remedy)


def _backup(connection: Connection, rules: CutoverRules, now: datetime) -> Requirement:
    found = evidence.require(connection, "verified_backup", made_by="asset verified_backup")
    age = found.age_hours(now)
    if age > rules.backup_max_age_hours:
        words = f"it is {age:.1f} h old (limit {rules.backup_max_age_hours:g} h)."
        return Requirement("verified backup", False, words, "Materialize verified_backup again.")
    verify_file(Path(found.content["path"]))
    return Requirement("verified backup", True, f"{age:.1f} h old, restored and compared, unaltered.")


def _drill(connection: Connection, rules: CutoverRules) -> Requirement:
    outcome = drill_outcome(connection, rules.drill_max_age_days)
    return Requirement("rollback drill", outcome.passed, outcome.sentence)
