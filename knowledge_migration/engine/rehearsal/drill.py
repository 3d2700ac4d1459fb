"""The rollback drill: a clone of production is migrated and taken back by each way, timed and compared (strategy §8.3).

The clone comes from the verified backup and is dropped at the end; production is only read, and gets the evidence. After
each way the legacy tables must be what they were before it, value for value, and each has the strategy's time to keep to.
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID

from knowledge_migration.engine.foundation import evidence, fingerprint
from knowledge_migration.engine.foundation.check_outcome import CheckOutcome
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.sql_files import statement
from knowledge_migration.engine.rehearsal.staging_run import (
    REASON,
    StagingRun,
    StagingRunOptions,
    Tell,
    Timed,
    made_legacy,
)
from knowledge_migration.engine.rollback.backfill import rollback_backfill
from knowledge_migration.engine.rollback.dual_write import rollback_dual_write
from knowledge_migration.engine.rollback.flags import roll_back
from knowledge_migration.engine.rollback.full import FullRollbackOptions, rollback_full
from knowledge_migration.engine.rollback.repair.backup_copy import restored_backup
from knowledge_migration.engine.rollback.schema import rollback_schema
from knowledge_migration.engine.validation import rules
from knowledge_migration.knowledge.entity_kinds import KINDS
from knowledge_migration.knowledge.extraction.model import Extractor
from knowledge_migration.knowledge.flags import Flags

EVIDENCE = "rollback_drill"
SHOWN = 3
STRANDED = "no_pending_proposal_is_stranded"
TARGET_ROWS = 10_000
"""The strategy's bounds for phases 2 and 3 are for so many rows; more have proportionally more time."""


@dataclass(frozen=True)
class PathResult:
    """One way back: how long it took, how long it may, of how many rows, and what was not as before it."""

    path: str
    seconds: float
    target_seconds: float
    rows: int
    differences: tuple[str, ...] = ()

    @property
    def well(self) -> bool:
        """Whether nothing differs and it was in time."""
        return not self.differences and self.seconds <= self.target_seconds

    def as_row(self) -> dict[str, Any]:
        """For tables and evidence."""
        return {
            "path": self.path,
            "seconds": round(self.seconds, 3),
            "target_seconds": round(self.target_seconds, 1),
            "rows": self.rows,
            "equal": not self.differences,
            "differences": "; ".join(self.differences),
            "well": self.well,
        }


@dataclass(frozen=True)
class Drill:
    """Every way back, and how long the phases took on the clone."""

    paths: tuple[PathResult, ...]
    phases: tuple[Timed, ...]
    clone_seconds: float
    seconds: float

    @property
    def well(self) -> bool:
        """Whether every way went well, and there was one."""
        return bool(self.paths) and all(path.well for path in self.paths)

    def to_evidence(self) -> dict[str, Any]:
        """All of it as JSON."""
        return {
            "well": self.well,
            "paths": [path.as_row() for path in self.paths],
            "phases": [vars(timed) for timed in self.phases],
            "clone_seconds": round(self.clone_seconds, 3),
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True)
class DrillOptions:
    """Where the clone is made, and how the migration runs on it."""

    scratch: Database
    extractor: Extractor
    tools_dir: Path | None = None
    course: StagingRunOptions = field(default_factory=StagingRunOptions)


def run_drill(
    database: Database, options: DrillOptions, *, tell: Tell = lambda _: None, paths: "Mapping[str, Way] | None" = None
) -> Drill:
    """Clones, migrates, takes back by each way, compares; records nothing.

    Raises `PreconditionError` without a verified backup or the right to make a database, `VerificationError` where the
    clone cannot be migrated so that every rule holds.
    """
    # the service brings the search for duplicates with it, which the code location does without
    from knowledge_migration.engine.rehearsal.live_service import live_service

    started = time.perf_counter()
    content = _backup_content(database)
    with restored_backup(database, scratch=options.scratch, tools_dir=options.tools_dir, progress=tell) as restored:
        clone = restored.database
        with clone.connect("drill") as connection:
            made_legacy(clone, options.course, connection)
        with live_service(clone, options.extractor) as service:
            work = _Drilling(clone, StagingRun(clone, service, options.course, tell), options, content, tell)
            work.all(WAYS if paths is None else paths)
    return Drill(tuple(work.results), tuple(work.course.timed), restored.seconds, time.perf_counter() - started)


def record(
    database: Database, drill: Drill, *, plan_hash: str | None = None, dagster_run_id: str | None = None
) -> None:
    """Keeps the drill as evidence of production."""
    with database.connect("drill evidence") as connection:
        evidence.record(connection, EVIDENCE, drill.to_evidence(), plan_hash=plan_hash, dagster_run_id=dagster_run_id)


def drill_outcome(connection: Connection, max_age_days: float) -> CheckOutcome:
    """Whether the latest drill is fresh, and every way back equal and in time; a missing one is a `PreconditionError`."""
    found = evidence.require(
        connection,
        EVIDENCE,
        made_by="asset rollback_drill (or knowledge-migration drill)",
        max_age_hours=24 * max_age_days,
    )
    broken = [path for path in found.content["paths"] if not path["well"]]
    if not found.content["paths"]:
        broken = [{"path": "none was drilled"}]
    return CheckOutcome(
        name="every_way_back_is_equal_and_in_time",
        count=len(broken),
        sample=tuple(broken),
        description="On a clone of production every way back left the legacy tables as they were, and kept to its time.",
        remedy="Look at the paths named here before you go on; then drill again (knowledge-migration drill).",
        numbers={
            "drilled_at": found.recorded_at,
            **{f"seconds_of_{path['path'].replace(' ', '_')}": path["seconds"] for path in found.content["paths"]},
        },
    )


def _backup_content(database: Database) -> dict[str, Any]:
    with database.connect("drill") as connection:
        return evidence.require(connection, "verified_backup", made_by="asset verified_backup").content


@dataclass
class _Drilling:
    """The ways one after the other on one clone. It has state, so it is a class."""

    clone: Database
    course: StagingRun
    options: DrillOptions
    backup: dict[str, Any]
    tell: Tell
    results: list[PathResult] = field(default_factory=list)

    def all(self, ways: "Mapping[str, Way]") -> None:
        """Every way, the clone migrated before the first and again before the last."""
        self.course.whole()
        for name, way in ways.items():
            self.tell(f"clone: way back: {name}")
            way(self, name)

    def migrate_again(self) -> None:
        """For a way that begins with everything in place; these phases are not timed twice."""
        again = StagingRun(
            self.clone, self.course.service, self.options.course, self.tell, extracted=self.course.extracted
        )
        again.whole()

    def timed(self, name: str, target_seconds: float, work: Callable[[], tuple[int, float | None]]) -> None:
        """Does the work, which tells its rows and, where not all of it counts, its seconds; compares before and after."""
        with self.clone.connect("drill") as connection:
            before = fingerprint.take(connection)
        started = time.perf_counter()
        rows, counted = work()
        seconds = time.perf_counter() - started if counted is None else counted
        with self.clone.connect("drill") as connection:
            found = fingerprint.differences(before, fingerprint.take(connection, like=before))
        differences = tuple(str(one) for one in found[:SHOWN])
        self.results.append(PathResult(name, seconds, target_seconds, rows, differences))


Way = Callable[[_Drilling, str], None]


def _scale(work: _Drilling) -> None:
    """More rows than the strategy's bound is for have proportionally more time."""
    last = work.results.pop()
    allowed = last.target_seconds * max(1.0, last.rows / TARGET_ROWS)
    work.results.append(replace(last, target_seconds=allowed))


def _set_aside(work: _Drilling) -> dict[str, list[UUID]]:
    """Parks what waits in proposal mode; the ids, per table."""
    with work.clone.connect("drill") as connection:
        return {
            kind.proposal_table: [
                row["id"]
                for row in connection.execute(
                    statement("rehearsal/set_aside", proposals=f"public.{kind.proposal_table}")
                )
            ]
            for kind in KINDS
        }


def _bring_back(work: _Drilling, waiting: dict[str, list[UUID]]) -> None:
    with work.clone.connect("drill") as connection:
        for table, ids in waiting.items():
            connection.execute(statement("rehearsal/bring_back", proposals=f"public.{table}"), {"ids": ids})


def _stranded(clone: Database) -> tuple[str, ...]:
    """What is neither replayed nor parked, in words."""
    with clone.connect("drill") as connection:
        asked = [rules.evaluate(connection, rule) for rule in rules.RULES if rule.file == STRANDED]
    return tuple(outcome.sentence for outcome in asked if not outcome.passed)


def _partial(work: _Drilling, name: str) -> None:
    def back() -> tuple[int, float]:
        done = roll_back(work.clone, Flags(), work.options.course.timeouts, "partial", reason=REASON)
        return 0, done.acknowledged_seconds or 0.0

    work.timed(name, 120.0, back)


def _instant(work: _Drilling, name: str) -> None:
    """The flip first, with nothing to replay, so that the tables can be compared exactly; then again with what is stranded."""
    waiting = _set_aside(work)

    def back() -> tuple[int, float]:
        done = roll_back(work.clone, Flags(), work.options.course.timeouts, "instant", reason=REASON)
        return 0, done.acknowledged_seconds or 0.0

    work.timed(name, 60.0, back)
    _bring_back(work, waiting)
    started = time.perf_counter()
    done = roll_back(work.clone, Flags(), work.options.course.timeouts, "instant", reason=REASON)
    settled = done.settled.total
    broken = _stranded(work.clone)
    wanted = sum(len(ids) for ids in waiting.values())
    lost = () if settled == wanted else (f"{wanted} proposals waited and {settled} were settled",)
    seconds = time.perf_counter() - started
    work.results.append(PathResult("replay or park", seconds, 60.0, settled, (*lost, *broken)))


def _dual_write(work: _Drilling, name: str) -> None:
    def back() -> tuple[int, None]:
        done = rollback_dual_write(work.clone, Flags(), work.options.course.timeouts, reason=REASON)
        return sum(done.deleted_proposals.values()), None

    work.timed(name, 60.0, back)
    _scale(work)


def _backfill(work: _Drilling, name: str) -> None:
    def back() -> tuple[int, None]:
        return sum(rollback_backfill(work.clone, reason=REASON).deleted_proposals.values()), None

    work.timed(name, 600.0, back)
    _scale(work)


def _schema(work: _Drilling, name: str) -> None:
    def back() -> tuple[int, None]:
        with tempfile.TemporaryDirectory(prefix="drill_") as folder:
            export = Path(folder) / "proposals.jsonl"
            done = rollback_schema(work.clone, work.options.course.lock_limits, reason=REASON, export_to=export)
        return done.exported_rows, None

    work.timed(name, 300.0, back)


def _full(work: _Drilling, name: str) -> None:
    """From a clone that is migrated again; its proposals that wait are parked first, so that nothing is replayed."""
    work.migrate_again()
    _set_aside(work)
    with work.clone.connect("drill") as connection:
        evidence.record(connection, "verified_backup", work.backup)

    def back() -> tuple[int, None]:
        with tempfile.TemporaryDirectory(prefix="drill_") as folder:
            options = FullRollbackOptions(
                initial_flags=Flags(),
                directory=Path(folder),
                scratch=work.options.scratch,
                tools_dir=work.options.tools_dir,
                timeouts=work.options.course.timeouts,
                lock_limits=work.options.course.lock_limits,
                limits=work.options.course.limits,
            )
            done = rollback_full(work.clone, options, reason=REASON, progress=work.tell)
        if not done.comparison.is_equal:
            unequal.append(done.comparison.sentence)
        return done.comparison.rows, None

    unequal: list[str] = []
    work.timed(name, 600.0, back)
    last = work.results.pop()
    work.results.append(replace(last, differences=(*last.differences, *unequal)))


WAYS: Mapping[str, Way] = {
    "partial": _partial,
    "instant": _instant,
    "dual write": _dual_write,
    "backfill": _backfill,
    "schema": _schema,
    "full": _full,
}
"""In the order in which each finds what it takes back."""
