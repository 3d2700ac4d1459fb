"""The full way back, online: every phase is taken back, then the legacy tables are held against the backup and repaired.

Rows that users wrote since the backup are kept (strategy §8.2 as ERRATA B2, B3 and B8 correct it). Proposals that exist
nowhere else are written to a file before they are dropped. A step that has nothing to do says so. Killed anywhere, a second
run goes on; the evidence store stays, and records how long it took.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.advisory_lock import advisory_lock
from knowledge_migration.engine.foundation.database import Connection, Database, exists
from knowledge_migration.engine.foundation.own_objects import current_revision, made_objects
from knowledge_migration.engine.rollback.backfill import backfill_extent, rollback_backfill
from knowledge_migration.engine.rollback.dual_write import dual_write_extent, rollback_dual_write
from knowledge_migration.engine.rollback.flags import plan_rollback, roll_back
from knowledge_migration.engine.rollback.repair.backup_copy import LatestBackup, Progress, proven_backup
from knowledge_migration.engine.rollback.repair.comparison import Comparison, OnRows
from knowledge_migration.engine.rollback.repair.repair import Repair, RepairOptions, repair_from_backup
from knowledge_migration.engine.rollback.repair.saved_rows import new_path
from knowledge_migration.engine.rollback.schema import PROPOSAL_TABLES, proposals_without_copy, rollback_schema
from knowledge_migration.engine.schema.steps import EVIDENCE_REVISION, TARGET_REVISION, steps_of
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.settings import Settings

WORK = "the full rollback"
EVIDENCE = "full_rollback"
BOUND_MINUTES = 10.0
FLAG_TABLES = ("feature_flags", "knowledge_extraction_runs", *PROPOSAL_TABLES)
NOTHING_STANDS = "nothing to do: the proposal schema is not there, or its rollback had begun"

OnStep = Callable[["StepDone"], None]


@dataclass(frozen=True)
class PlannedStep:
    """What a step would do; `needed` is False where there is nothing to do."""

    name: str
    words: str
    needed: bool = True


@dataclass(frozen=True)
class FullRollbackPlan:
    """Every step in its order, and the backup that the rows will be held against."""

    steps: tuple[PlannedStep, ...]
    backup: LatestBackup


@dataclass(frozen=True)
class StepDone:
    """What a step did and how long it took; `skipped` where there was nothing to do."""

    name: str
    words: str
    seconds: float
    skipped: bool = False


@dataclass(frozen=True)
class FullRollback:
    """What was taken back, step by step, and how the legacy tables stand to the backup now."""

    steps: tuple[StepDone, ...]
    export_file: Path | None
    repair: Repair
    comparison: Comparison
    seconds: float

    @property
    def is_within_bound(self) -> bool:
        """Whether it took less than the strategy's ten minutes."""
        return self.seconds < BOUND_MINUTES * 60

    def to_evidence(self) -> dict[str, Any]:
        """All of it as JSON."""
        return {
            "steps": [{**vars(step), "seconds": round(step.seconds, 3)} for step in self.steps],
            "export_file": str(self.export_file) if self.export_file else None,
            "repair": self.repair.to_evidence(),
            "comparison": self.comparison.to_evidence(),
            "seconds": round(self.seconds, 3),
            "bound_minutes": BOUND_MINUTES,
            "within_bound": self.is_within_bound,
        }


@dataclass(frozen=True)
class FullRollbackOptions:
    """The initial flags, the directory of the files, the server for the restore, and the settings."""

    initial_flags: Flags
    directory: Path
    scratch: Database
    settings: Settings = field(default_factory=Settings)
    restore_missing: bool = False

    @property
    def repair(self) -> RepairOptions:
        """How the rows are repaired."""
        return RepairOptions(self.directory, self.settings.backfill, self.restore_missing)


def plan_full_rollback(database: Database, options: FullRollbackOptions) -> FullRollbackPlan:
    """What each step would do. Reads only; raises `MigrationError` where the way is barred from the beginning."""
    with database.connect("full rollback plan") as connection:
        backup = proven_backup(connection)
        steps = (
            _planned_flags(connection, database, options),
            _planned_dual_write(connection),
            _planned_backfill(connection),
            _planned_schema(connection),
        )
    rows = (
        f"restore {backup.path.name} of {backup.taken_at:%Y-%m-%d %H:%M} UTC into a scratch database, compare its "
        f"{backup.rows:,} rows, repair what was altered; rows that users wrote since are kept, missing ones are "
        f"{'brought back' if options.restore_missing else 'reported only'}"
    )
    return FullRollbackPlan((*steps, PlannedStep("rows", rows)), backup)


def rollback_full(
    database: Database,
    options: FullRollbackOptions,
    *,
    reason: str,
    actor: str | None = None,
    dagster_run_id: str | None = None,
    on_step: OnStep | None = None,
    progress: Progress = lambda _: None,
    on_rows: OnRows | None = None,
) -> FullRollback:
    """Takes everything back (strategy §8.2); doing it again changes nothing more.

    Each step is audited by itself. Raises what the steps raise (`BlockedError` naming who is in the way); the steps before
    stay done, and a second run goes on. Raises `PreconditionError` before the first step without a sound backup.
    """
    settings = {"idle_session_timeout": "0"}
    with database.connect("full rollback", settings=settings) as connection, advisory_lock(connection, WORK):
        proven_backup(connection)
        work = _Work(database, connection, options, reason, actor, dagster_run_id, on_step)
        work.flags()
        work.dual_write()
        work.backfill()
        work.schema()
        done = work.rows(progress, on_rows)
        evidence.record(connection, EVIDENCE, done.to_evidence(), dagster_run_id=dagster_run_id)
    return done


@dataclass
class _Work:
    """The steps, and what they have done so far."""

    database: Database
    connection: Connection
    options: FullRollbackOptions
    reason: str
    actor: str | None
    dagster_run_id: str | None
    on_step: OnStep | None
    started: float = field(default_factory=time.perf_counter)
    done: list[StepDone] = field(default_factory=list)
    export_file: Path | None = None

    def flags(self) -> None:
        """Leaves proposal mode, so that nothing new appears while the rest goes."""
        began = time.perf_counter()
        if not _flags_stand(self.connection):
            self._tell("flags", NOTHING_STANDS, began, skipped=True)
            return
        options = self.options
        result = roll_back(
            self.database,
            options.initial_flags,
            options.settings,
            "instant",
            reason=self.reason,
            dagster_run_id=self.dagster_run_id,
        )
        words = f"{len(result.processes)} processes have acknowledged; {result.settled.sentence}"
        self._tell("flags", words, began)

    def dual_write(self) -> None:
        """Dual write off, and its shadows away."""
        began = time.perf_counter()
        if not _links_stand(self.connection):
            self._tell("dual write", NOTHING_STANDS, began, skipped=True)
            return
        options = self.options
        undone = rollback_dual_write(
            self.database,
            options.initial_flags,
            options.settings.fence,
            reason=self.reason,
            limits=options.settings.backfill,
            dagster_run_id=self.dagster_run_id,
        )
        self._tell("dual write", f"off; {_counted(undone.deleted_proposals)} deleted", began)

    def backfill(self) -> None:
        """The backfill's proposals away, and its links."""
        began = time.perf_counter()
        if not _links_stand(self.connection) or not any(backfill_extent(self.connection).values()):
            self._tell("backfill", "nothing to do: the backfill has made no proposals here", began, skipped=True)
            return
        undone = rollback_backfill(
            self.database,
            reason=self.reason,
            limits=self.options.settings.backfill,
            actor=self.actor,
            dagster_run_id=self.dagster_run_id,
        )
        self._tell("backfill", f"{_counted(undone.deleted_proposals)} deleted", began)

    def schema(self) -> None:
        """Exports what exists nowhere else, then drops the proposal schema."""
        began = time.perf_counter()
        if not _own_objects(self.connection):
            self._tell("schema", "nothing to do: the proposal schema is not there", began, skipped=True)
            return
        path = new_path(self.options.directory, "proposals", self.database.name)
        undone = rollback_schema(
            self.database,
            self.options.settings.schema_change,
            reason=self.reason,
            export_to=path,
            actor=self.actor,
            dagster_run_id=self.dagster_run_id,
        )
        self.export_file = undone.export_file
        words = (
            f"at revision {undone.change.to_revision}; {undone.exported_rows:,} rows exported to {undone.export_file}"
        )
        self._tell("schema", words, began)

    def rows(self, progress: Progress, on_rows: OnRows | None) -> FullRollback:
        """Holds the legacy tables against the backup and repairs what was altered."""
        began = time.perf_counter()
        options = self.options
        run = repair_from_backup(
            self.database,
            options.repair,
            scratch=options.scratch,
            tools_dir=options.settings.installation.pg_bin,
            reason=self.reason,
            actor=self.actor,
            dagster_run_id=self.dagster_run_id,
            progress=progress,
            on_rows=on_rows,
        )
        self._tell("rows", f"{run.repair.changed:,} rows repaired. {run.after.sentence}", began)
        seconds = time.perf_counter() - self.started
        return FullRollback(tuple(self.done), self.export_file, run.repair, run.after, seconds)

    def _tell(self, name: str, words: str, began: float, *, skipped: bool = False) -> None:
        self.done.append(StepDone(name, words, time.perf_counter() - began, skipped))
        if self.on_step:
            self.on_step(self.done[-1])


def _planned_flags(connection: Connection, database: Database, options: FullRollbackOptions) -> PlannedStep:
    if not _flags_stand(connection):
        return PlannedStep("flags", NOTHING_STANDS, needed=False)
    plan = plan_rollback(database, options.initial_flags, options.settings, "instant")
    changes = ", ".join(f"{name}={value}" for name, value in plan.changes.items()) or "none: proposals are off"
    return PlannedStep(
        "flags",
        f"flags that change: {changes}; {len(plan.processes)} live processes have to obey; {plan.stranded.total:,} stranded "
        f"proposals are replayed or parked",
    )


def _planned_dual_write(connection: Connection) -> PlannedStep:
    if not _links_stand(connection):
        return PlannedStep("dual write", NOTHING_STANDS, needed=False)
    extent = dual_write_extent(connection)
    return PlannedStep("dual write", f"switch it off, delete {_counted(extent.shadows)}")


def _planned_backfill(connection: Connection) -> PlannedStep:
    extent = backfill_extent(connection) if _links_stand(connection) else {}
    if not any(extent.values()):
        return PlannedStep("backfill", "nothing to do: the backfill has made no proposals here", needed=False)
    return PlannedStep("backfill", f"unlink and delete {_counted(extent)}")


def _planned_schema(connection: Connection) -> PlannedStep:
    objects = _own_objects(connection)
    if not objects:
        return PlannedStep("schema", "nothing to do: the proposal schema is not there", needed=False)
    precious = _counted(proposals_without_copy(connection))
    return PlannedStep(
        "schema",
        f"export the proposal tables (only there, before the steps above: {precious}), then drop {len(objects)} objects; "
        "the evidence store stays",
    )


def _flags_stand(connection: Connection) -> bool:
    made = made_objects(connection)
    return all(f"public.{table}" in made and exists(connection, f"public.{table}") for table in FLAG_TABLES)


def _links_stand(connection: Connection) -> bool:
    """Whether the schema is whole; where its rollback has begun, proposals and links go with what is left of it."""
    return _flags_stand(connection) and current_revision(connection) == TARGET_REVISION


def _own_objects(connection: Connection) -> frozenset[str]:
    """What the migration has made beside its evidence store, also half way through phase 1."""
    return made_objects(connection) - {step.object for step in steps_of(EVIDENCE_REVISION)}


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count) or "nothing"
