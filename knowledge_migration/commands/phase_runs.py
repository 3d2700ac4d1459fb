"""Phases 0 to 4 in order, each as Dagster runs recorded in the instance; stops at the first phase that fails.

Phases that the database records as done are skipped, so a second call changes nothing. Needs no daemon; the same phases can
be materialized one by one in the UI.
"""

import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import psycopg
import sqlalchemy as sa

from knowledge_migration.definitions import defs
from knowledge_migration.engine.backfill.plan import planned
from knowledge_migration.engine.foundation.check_record import CheckRecord
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.errors import MigrationError, PreconditionError
from knowledge_migration.engine.foundation.explanation import explained
from knowledge_migration.engine.status.model import Phase
from knowledge_migration.engine.status.phases import SKIPPED_DUAL_WRITE
from knowledge_migration.engine.status.snapshot import read_status
from knowledge_migration.knowledge.entity_kinds import KINDS
from knowledge_migration.settings import load_settings

RUN_LOG = "The run's log in the UI (knowledge-migration ui) has every line. Committed work stays."
WAITS = "waits for the operator: knowledge-migration cutover status lists the requirements; phase_4_cutover promotes"
warnings.filterwarnings("ignore", category=dg.BetaWarning)  # from dagster's own sensors
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class PhaseSummary:
    """The result of one phase: `done` as a message, rows written or read, seconds, checks, and the errors of failed steps."""

    phase: str
    done: str
    rows: int | None
    seconds: float
    checks: tuple[CheckRecord, ...] = ()
    errors: tuple[str, ...] = ()
    run_ids: tuple[str, ...] = ()
    skipped: bool = False

    @property
    def failed_checks(self) -> tuple[CheckRecord, ...]:
        """The checks that failed with severity ERROR."""
        return tuple(check for check in self.checks if check.result == "failed")

    @property
    def succeeded(self) -> bool:
        """True when every run of the phase succeeded."""
        return not self.errors and not self.failed_checks


@dataclass
class Runs:
    """Runs jobs of the code location in this process and collects their events."""

    instance: dg.DagsterInstance
    definitions: dg.Definitions = field(default_factory=defs)
    events: list[Any] = field(default_factory=list)
    run_ids: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def run(
        self,
        job: str,
        *,
        partition: str | None = None,
        ops: dict[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> bool:
        """Whether the run succeeded; its events are kept."""
        config: dict[str, Any] = {**QUIET, "ops": ops} if ops else dict(QUIET)
        result = self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            partition_key=partition,
            run_config=config,
            raise_on_error=False,
            tags={"knowledge_migration/started_by": "knowledge-migration migrate", **(tags or {})},
        )
        self.events += result.all_events
        self.run_ids.append(result.run_id)
        self.errors += [_error_of(event) for event in result.all_events if event.is_step_failure]
        return result.success

    def attempt(self, job: str, *, partition: str | None = None, tags: Mapping[str, str] | None = None) -> bool:
        """A run that may be refused and retried later; only the events of a successful one are kept."""
        events, errors = list(self.events), list(self.errors)
        succeeded = self.run(job, partition=partition, tags=tags)
        if not succeeded:
            self.events, self.errors = events, errors
        return succeeded

    def metadata(self, asset: str, key: str) -> Any:
        """The sum of a number over the materializations of an asset in these runs."""
        values = [
            event.step_materialization_data.materialization.metadata[key].value
            for event in self.events
            if event.is_step_materialization
            and event.asset_key == dg.AssetKey(asset)
            and key in event.step_materialization_data.materialization.metadata
        ]
        return sum(values)

    @property
    def checks(self) -> tuple[CheckRecord, ...]:
        """The latest result of each check: a stage that is promoted twice has its gates evaluated twice."""
        evaluations = [
            event.event_specific_data for event in self.events if event.event_type_value == "ASSET_CHECK_EVALUATION"
        ]
        latest = {(evaluation.asset_key, evaluation.check_name): evaluation for evaluation in evaluations}
        return tuple(
            CheckRecord(
                evaluation.check_name,
                succeeded=evaluation.passed,
                at=datetime.now(UTC),  # the run has just ended
                message=evaluation.description or "",
                warns=evaluation.severity == dg.AssetCheckSeverity.WARN,
                asset=evaluation.asset_key.to_user_string(),
                sample=_sample(evaluation.metadata.get("sample")),
            )
            for evaluation in latest.values()
        )


def migrated(database: Database) -> bool:
    """Whether all phases are done, the cutover included."""
    return all(phase.state == "done" for phase in _phases(database))


def _phases(database: Database) -> tuple[Phase, ...]:
    """Phases 0 to 4, with exact counts. Raises `PreconditionError` where a part of the state cannot be read."""
    snapshot = read_status(database, load_settings(), parts=["phases"], exact=True)
    if snapshot.unreadable:
        reasons = "; ".join(f"{part}: {reason}" for part, reason in snapshot.unreadable.items())
        raise PreconditionError(f"The state of the migration cannot be read ({reasons}). Nothing was changed.")
    return snapshot.phases[:5]


Work = Callable[[Runs, Database], tuple[str, int | None]]


@dataclass(frozen=True)
class Demonstration:
    """What only the demonstration does: before phase 0, as phase 4 (it bakes for seconds), and after it."""

    prepare: Work
    cutover: Work
    finish: Work


def migrate(
    database: Database,
    instance: dg.DagsterInstance,
    *,
    on_phase: Callable[[str], None],
    demonstration: Demonstration | None = None,
) -> Iterator[PhaseSummary]:
    """Runs the phases that are not done and yields a summary per phase; ends after the first phase that fails.

    Phase 4 bakes for days, so only the demonstration runs it here.
    """

    def done(name: str, work: Work) -> PhaseSummary:
        on_phase(name)
        return timed(name, instance, database, work)

    if demonstration:
        yield (prepared := done("demonstration", demonstration.prepare))
        if not prepared.succeeded:
            return
    works = (_preparation, _schema, _dual_write, _backfill, demonstration.cutover if demonstration else None)
    for phase, work in zip(_phases(database), works, strict=True):
        name = f"{phase.number} {phase.name}"
        if phase.state == "done" or work is None:
            message = phase.message if phase.message == SKIPPED_DUAL_WRITE else f"already done: {phase.message}"
            yield PhaseSummary(name, message if phase.state == "done" else WAITS, None, 0.0, skipped=True)
            continue
        yield (summary := done(name, work))
        if not summary.succeeded:
            return
    if demonstration:
        yield done("validation", demonstration.finish)


def timed(name: str, instance: dg.DagsterInstance, database: Database, work: Work) -> PhaseSummary:
    """The summary of work that is done now; an error of the migration, the database or a disk ends it with its reason."""
    runs = Runs(instance)
    started = time.perf_counter()
    try:
        done, rows = work(runs, database)
    except MigrationError as error:
        done, rows = "stopped", None
        runs.errors.append(f"{type(error).__name__}: {error}")
    except (psycopg.Error, sa.exc.DBAPIError, OSError) as error:  # also a full disk under Dagster's storage
        done, rows = "stopped", None
        runs.errors.append(explained(error))
    return PhaseSummary(
        name, done, rows, time.perf_counter() - started, runs.checks, tuple(runs.errors), tuple(runs.run_ids)
    )


def _preparation(runs: Runs, _: Database) -> tuple[str, int | None]:
    runs.run("phase_0_preparation")
    skipped = load_settings().rehearsal.skip_reason
    rehearsal = f"rehearsal skipped: {skipped}" if skipped else "rehearsal on a clone"
    done = f"inventory, fingerprint, verified backup, data quality, baseline, {rehearsal}"
    return done, runs.metadata("data_inventory", "rows")


def _schema(runs: Runs, _: Database) -> tuple[str, int | None]:
    runs.run("phase_1_schema")
    return "proposal tables, links, indexes, references", 0


def _dual_write(runs: Runs, _: Database) -> tuple[str, int | None]:
    runs.run("phase_2_dual_write")
    return "every extraction writes its proposals too, proven and probed", 0


def _backfill(runs: Runs, database: Database) -> tuple[str, int | None]:
    """Plan, every partition, completion; stops at the first run that fails."""
    done = "topics and atoms linked to their proposals"
    if not runs.run("phase_3_plan", ops={"backfill_plan": {"config": {"dry_run": True}}}):
        return "stopped at the plan", 0
    with database.connect("plan") as connection:
        plans = planned(connection)
    for kind in KINDS:
        for part in plans[kind.name].partitions:
            if not runs.run(f"phase_3_{kind.name}_backfill", partition=part.key):
                return f"stopped at {kind.table} {part.key}", _linked(runs)
    runs.run("phase_3_completion")
    return done, _linked(runs)


def _linked(runs: Runs) -> int:
    partitions = sum(runs.metadata(f"{kind.name}_backfill", "linked_rows") for kind in KINDS)
    return int(partitions + runs.metadata("backfill_completion", "swept_rows"))


def _sample(table: Any) -> tuple[str, ...]:
    """The rows of a failed check's sample as lines."""
    records = table.records if isinstance(table, dg.TableMetadataValue) else ()
    return tuple(", ".join(f"{key} {value}" for key, value in record.data.items()) for record in records)


def _error_of(event: Any) -> str:
    """The reason of a failed step: what the step says and the remedy, or the innermost error in words."""
    data = event.step_failure_data
    failure = data.user_failure_data
    if failure and failure.description:
        remedy = failure.metadata.get("what_to_do")
        more = f"\n{remedy.value}" if remedy and remedy.value != failure.description else ""
        return f"{event.step_key}: {failure.description}{more}"
    error = data.error
    while error and error.cause:
        error = error.cause
    first = error.message.strip().partition("\n")[0] if error else "failed"
    return f"{event.step_key}: {first} {RUN_LOG}"
