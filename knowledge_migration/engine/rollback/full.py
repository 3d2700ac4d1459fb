"""The full rollback, online: rolls back every phase, then compares the legacy tables with the backup and repairs them.

Rows that users wrote since the backup are kept (strategy §8.2, ERRATA B2, B3, B8). Proposals that exist nowhere else are exported
before they are dropped. A second run completes a killed one; the evidence store stays.
"""

import time
from collections.abc import Callable, Mapping
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
from knowledge_migration.engine.rollback.repair.repair import Repair, repair_from_backup
from knowledge_migration.engine.rollback.repair.saved_rows import new_path
from knowledge_migration.engine.rollback.schema import PROPOSAL_TABLES, proposals_without_copy, rollback_schema
from knowledge_migration.engine.schema.steps import EVIDENCE_REVISION, TARGET_REVISION, steps_of
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.settings import Settings

WORK = "the full rollback"
EVIDENCE = "full_rollback"
LIMIT_MINUTES = 10.0
FLAG_TABLES = ("feature_flags", "knowledge_extraction_runs", *PROPOSAL_TABLES)
NO_SCHEMA = "nothing to do: the proposal schema does not exist, or its rollback has begun"
NO_OBJECTS = "nothing to do: the proposal schema does not exist"
NO_BACKFILL = "nothing to do: the backfill has made no proposals here"

OnStep = Callable[["StepDone"], None]


@dataclass(frozen=True)
class PlannedStep:
    """A step and what it would do; `needed` is False where there is nothing to do."""

    name: str
    message: str
    needed: bool = True


@dataclass(frozen=True)
class FullRollbackPlan:
    """Every step in its order, and the backup that the rows will be compared with."""

    steps: tuple[PlannedStep, ...]
    backup: LatestBackup


@dataclass(frozen=True)
class StepDone:
    """What a step did, and its seconds; `skipped` where there was nothing to do."""

    name: str
    message: str
    seconds: float
    skipped: bool = False


@dataclass(frozen=True)
class FullRollback:
    """The steps, and the comparison of the legacy tables with the backup at the end."""

    steps: tuple[StepDone, ...]
    export_file: Path | None
    repair: Repair
    comparison: Comparison
    seconds: float

    @property
    def is_within_limit(self) -> bool:
        """Whether it took less than the strategy's ten minutes."""
        return self.seconds < LIMIT_MINUTES * 60

    def to_evidence(self) -> dict[str, Any]:
        """The rollback as JSON."""
        return {
            "steps": [{**vars(step), "seconds": round(step.seconds, 3)} for step in self.steps],
            "export_file": str(self.export_file) if self.export_file else None,
            "repair": self.repair.to_evidence(),
            "comparison": self.comparison.to_evidence(),
            "seconds": round(self.seconds, 3),
            "limit_minutes": LIMIT_MINUTES,
            "within_limit": self.is_within_limit,
        }


@dataclass(frozen=True)
class FullRollbackOptions:
    """The initial flags, the directory of the files, the server for the restore, and the settings."""

    initial_flags: Flags
    directory: Path
    scratch: Database
    settings: Settings = field(default_factory=Settings)
    restore_missing: bool = False


def plan_full_rollback(database: Database, options: FullRollbackOptions) -> FullRollbackPlan:
    """What each step would do. Reads only; raises `MigrationError` where the rollback is not possible."""
    with database.connect("full rollback plan") as connection:
        backup = proven_backup(connection)
        work = _Work(database, connection, options)
        steps = []
        for name, step in STEPS.items():
            nothing = step.nothing_to_do(connection)
            steps.append(PlannedStep(name, nothing or step.plan(work), needed=nothing is None))
    message = (
        f"restore {backup.path.name} of {backup.taken_at:%Y-%m-%d %H:%M} UTC into a scratch database, compare its "
        f"{backup.rows:,} rows, repair altered ones; keep rows that users wrote since; "
        f"{'insert missing ones again' if options.restore_missing else 'only report missing ones'}"
    )
    return FullRollbackPlan((*steps, PlannedStep("rows", message)), backup)


def rollback_full(
    database: Database,
    options: FullRollbackOptions,
    *,
    reason: str,
    dagster_run_id: str | None = None,
    on_step: OnStep | None = None,
    progress: Progress = lambda _: None,
    on_rows: OnRows | None = None,
) -> FullRollback:
    """Rolls everything back (strategy §8.2); a second run changes nothing.

    Each step is audited by itself. Raises the errors of the steps (`BlockedError` naming the session in the way); the
    steps before stay done, and a second run continues. Raises `PreconditionError` before the first step without a valid backup.
    """
    started, done = time.perf_counter(), []

    def report(name: str, message: str, began: float, *, skipped: bool = False) -> None:
        done.append(StepDone(name, message, time.perf_counter() - began, skipped))
        if on_step:
            on_step(done[-1])

    with database.connect("full rollback") as connection, advisory_lock(connection, WORK):
        proven_backup(connection)
        work = _Work(database, connection, options, reason, dagster_run_id)
        for name, step in STEPS.items():
            began = time.perf_counter()
            nothing = step.nothing_to_do(connection)
            report(name, nothing or step.run(work), began, skipped=nothing is not None)
        began = time.perf_counter()
        run = repair_from_backup(
            database,
            options.directory,
            options.settings.backfill,
            restore_missing=options.restore_missing,
            scratch=options.scratch,
            tools_dir=options.settings.installation.pg_bin,
            progress=progress,
            on_rows=on_rows,
            **work.who,
        )
        report("rows", f"{run.repair.changed:,} rows repaired. {run.after.sentence}", began)
        seconds = time.perf_counter() - started
        result = FullRollback(tuple(done), work.export_file, run.repair, run.after, seconds)
        evidence.record(connection, EVIDENCE, result.to_evidence(), dagster_run_id=dagster_run_id)
    return result


@dataclass
class _Work:
    """The arguments of the steps, and the file of the exported proposals once there is one."""

    database: Database
    connection: Connection
    options: FullRollbackOptions
    reason: str = ""
    dagster_run_id: str | None = None
    export_file: Path | None = None

    @property
    def who(self) -> dict[str, Any]:
        """For the audit log."""
        return {"reason": self.reason, "dagster_run_id": self.dagster_run_id}


@dataclass(frozen=True)
class _Step:
    """Why there is nothing to do, if so; what the step would do; and the step, which returns what it did."""

    nothing_to_do: Callable[[Connection], str | None]
    plan: Callable[[_Work], str]
    run: Callable[[_Work], str]


def _plan_flags(work: _Work) -> str:
    plan = plan_rollback(work.database, work.options.initial_flags, work.options.settings, "instant")
    changes = ", ".join(f"{name}={value}" for name, value in plan.changes.items()) or "none: proposals are off"
    return (
        f"flags that change: {changes}; {len(plan.processes)} live processes have to acknowledge; "
        f"{plan.stranded.total:,} stranded proposals are replayed or parked"
    )


def _flags(work: _Work) -> str:
    options = work.options
    result = roll_back(work.database, options.initial_flags, options.settings, "instant", **work.who)
    return f"{len(result.processes)} processes have acknowledged; {result.settled.sentence}"


def _plan_dual_write(work: _Work) -> str:
    return f"switch it off, delete {_counted(dual_write_extent(work.connection).shadows)}"


def _dual_write(work: _Work) -> str:
    options = work.options
    result = rollback_dual_write(
        work.database, options.initial_flags, options.settings.fence, limits=options.settings.backfill, **work.who
    )
    return f"off; {_counted(result.deleted_proposals)} deleted"


def _plan_backfill(work: _Work) -> str:
    return f"unlink and delete {_counted(backfill_extent(work.connection))}"


def _backfill(work: _Work) -> str:
    result = rollback_backfill(work.database, limits=work.options.settings.backfill, **work.who)
    return f"{_counted(result.deleted_proposals)} deleted"


def _plan_schema(work: _Work) -> str:
    without_copy = _counted(proposals_without_copy(work.connection))
    return (
        f"export the proposal tables (counted before the steps above, without a copy elsewhere: {without_copy}), then drop "
        f"{len(_own_objects(work.connection))} objects; the evidence store stays"
    )


def _schema(work: _Work) -> str:
    """Exports proposals that exist nowhere else, then drops the proposal schema."""
    path = new_path(work.options.directory, "proposals", work.database.name)
    result = rollback_schema(work.database, work.options.settings.schema_change, export_to=path, **work.who)
    work.export_file = result.export_file
    return f"at revision {result.change.to_revision}; {result.exported_rows:,} rows exported to {result.export_file}"


def _without_flags(connection: Connection) -> str | None:
    own = made_objects(connection)
    there = all(f"public.{table}" in own and exists(connection, f"public.{table}") for table in FLAG_TABLES)
    return None if there else NO_SCHEMA


def _without_links(connection: Connection) -> str | None:
    """Where the rollback of the schema has begun, it also removes the proposals and links that are left."""
    return _without_flags(connection) or (None if current_revision(connection) == TARGET_REVISION else NO_SCHEMA)


def _without_backfill(connection: Connection) -> str | None:
    return None if not _without_links(connection) and any(backfill_extent(connection).values()) else NO_BACKFILL


def _without_objects(connection: Connection) -> str | None:
    return None if _own_objects(connection) else NO_OBJECTS


def _own_objects(connection: Connection) -> frozenset[str]:
    """The objects of the migration besides its evidence store, also half way through phase 1."""
    return made_objects(connection) - {step.object for step in steps_of(EVIDENCE_REVISION)}


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count) or "nothing"


STEPS: Mapping[str, _Step] = {
    "flags": _Step(_without_flags, _plan_flags, _flags),
    "dual write": _Step(_without_links, _plan_dual_write, _dual_write),
    "backfill": _Step(_without_backfill, _plan_backfill, _backfill),
    "schema": _Step(_without_objects, _plan_schema, _schema),
}
