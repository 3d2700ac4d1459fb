"""The rollback drill: migrates a clone of production, runs each rollback on it, measures and compares (strategy §8.3).

Production is only read, and gets the evidence. After each
rollback the legacy tables must equal those before it, value for value, within the strategy's time limit.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from knowledge_migration.engine.cutover.readiness import DRILL_EVIDENCE
from knowledge_migration.engine.foundation import evidence, fingerprint
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.sql_files import statement
from knowledge_migration.engine.rehearsal.clone import clone_of
from knowledge_migration.engine.rehearsal.staging_run import (
    REASON,
    Progress,
    SetAside,
    StagingRun,
    TimedPhase,
    WrittenElsewhere,
)
from knowledge_migration.engine.rollback.backfill import rollback_backfill
from knowledge_migration.engine.rollback.dual_write import rollback_dual_write
from knowledge_migration.engine.rollback.flags import roll_back
from knowledge_migration.engine.rollback.full import FullRollbackOptions, rollback_full
from knowledge_migration.engine.rollback.schema import rollback_schema
from knowledge_migration.engine.validation import rules
from knowledge_migration.knowledge.entity_kinds import KINDS
from knowledge_migration.knowledge.extraction.model import Extractor
from knowledge_migration.knowledge.flag_rollback import FlagRollbackResult
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.knowledge.stages import RollbackKind
from knowledge_migration.settings import Settings

SHOWN = 3
STRANDED = "no_pending_proposal_is_stranded"
WATCH_SECONDS = 0.1  # nobody but the service of the rehearsal writes to the clone
FENCE_SECONDS = 60.0
GROWN_BATCH = 1_000
"""Batches of the automatic rate grow to about this size."""
TARGET_ROWS = 10_000
"""The strategy's limits of phases 2 and 3 are for 10,000 rows; more rows have proportionally more time."""


@dataclass(frozen=True)
class PathResult:
    """One rollback: its seconds, its limit in seconds, the number of rows, and the differences that it left."""

    path: str
    seconds: float
    target_seconds: float
    rows: int
    differences: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
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
            "passed": self.passed,
        }


@dataclass(frozen=True)
class Drill:
    """Every rollback, the seconds of each phase on the clone, the rows for the quarantine, and side effects.

    `share` is the clone's part of production's topics and atoms.
    """

    paths: tuple[PathResult, ...]
    phases: tuple[TimedPhase, ...]
    clone_seconds: float
    seconds: float
    set_aside: tuple[SetAside, ...] = ()
    side_effects: tuple[WrittenElsewhere, ...] = ()
    share: float = 1.0

    @property
    def passed(self) -> bool:
        """Whether every rollback passed, and there was one."""
        return bool(self.paths) and all(path.passed for path in self.paths)

    def to_evidence(self) -> dict[str, Any]:
        """The drill as JSON."""
        return {
            "passed": self.passed,
            "paths": [path.as_row() for path in self.paths],
            "phases": [vars(phase) for phase in self.phases],
            "clone_seconds": round(self.clone_seconds, 3),
            "seconds": round(self.seconds, 3),
            "share": self.share,
            "set_aside": [vars(one) for one in self.set_aside],
            "side_effects": [vars(one) for one in self.side_effects],
        }


@dataclass(frozen=True)
class DrillOptions:
    """The server of the clone, the extractor of its service, and the settings of production."""

    scratch: Database
    extractor: Extractor
    settings: Settings = field(default_factory=Settings)

    @property
    def on_clone(self) -> Settings:
        """Production's settings without a rate limit, and with a short wait for the one service on the clone.

        The closed loop would follow the load of the server, so its batches have a fixed size here.
        """
        production = self.settings.backfill
        size = max(production.batch_size, GROWN_BATCH) if production.is_automatic else production.batch_size
        backfill = production.replaced(rate_limit_per_second=0, batch_size=size)
        fence = self.settings.fence.replaced(seconds=FENCE_SECONDS, watch_seconds=WATCH_SECONDS)
        return self.settings.replaced(backfill=backfill, fence=fence)


@dataclass(frozen=True)
class Outcome:
    """The rows of a rollback, its own count of seconds where not all of it counts, and what it left unequal."""

    rows: int = 0
    seconds: float | None = None
    differences: tuple[str, ...] = ()


@dataclass(frozen=True)
class DrilledRollback:
    """A rollback on the clone, its limit in seconds (for 10,000 rows where `grows`), and its preparation."""

    run: Callable[["CloneDrill"], Outcome]
    target_seconds: float
    grows: bool = False
    compares_tables: bool = True
    prepare: Callable[["CloneDrill"], None] = lambda _: None


def run_drill(
    database: Database,
    options: DrillOptions,
    *,
    progress: Progress = lambda _: None,
    rollbacks: "Mapping[str, DrilledRollback] | None" = None,
) -> Drill:
    """Clones, migrates, rolls back by each rollback, compares; records nothing.

    Raises the errors of `clone_of`, `VerificationError` where an integrity rule is violated on the migrated clone.
    """
    # the service imports the search for duplicates, which the code location does without
    from knowledge_migration.engine.rehearsal.live_service import live_service

    started = time.perf_counter()
    with (
        clone_of(database, options.scratch, options.on_clone, progress) as clone,
        live_service(clone.database, options.extractor) as service,
    ):
        run = StagingRun(clone.database, service, options.on_clone, progress)
        run.migrate()
        drill = CloneDrill(clone.database, run, options, clone.backup)
        results = tuple(drill.measure(name, rollback) for name, rollback in (rollbacks or ROLLBACKS).items())
    seconds = time.perf_counter() - started
    return Drill(results, tuple(run.timed), clone.seconds, seconds, run.set_aside, run.side_effects, clone.share)


def record(
    database: Database, drill: Drill, *, plan_hash: str | None = None, dagster_run_id: str | None = None
) -> None:
    """Records the drill as evidence of production."""
    with database.connect("drill evidence") as connection:
        content = drill.to_evidence()
        evidence.record(connection, DRILL_EVIDENCE, content, plan_hash=plan_hash, dagster_run_id=dagster_run_id)


@dataclass
class CloneDrill:
    """The rollbacks one after the other on one clone; it has state: the proposals that it has parked."""

    clone: Database
    run: StagingRun
    options: DrillOptions
    backup: Mapping[str, Any]
    parked: dict[str, list[UUID]] = field(default_factory=dict)

    def measure(self, name: str, rollback: DrilledRollback) -> PathResult:
        """Runs one rollback, and compares the legacy tables before and after."""
        self.run.progress(f"clone: rollback {name}")
        rollback.prepare(self)
        with self.clone.connect("drill") as connection:
            before = fingerprint.take(connection)
        started = time.perf_counter()
        outcome = rollback.run(self)
        seconds = time.perf_counter() - started if outcome.seconds is None else outcome.seconds
        differences = outcome.differences
        if rollback.compares_tables:
            with self.clone.connect("drill") as connection:
                changed = fingerprint.differences(before, fingerprint.take(connection, like=before))
            differences = (*(str(difference) for difference in changed[:SHOWN]), *differences)
        target = rollback.target_seconds * (max(1.0, outcome.rows / TARGET_ROWS) if rollback.grows else 1.0)
        return PathResult(name, seconds, target, outcome.rows, differences)

    def park(self) -> None:
        """Parks the pending proposals of proposal mode, so that a rollback has nothing to replay."""
        with self.clone.connect("drill") as connection:
            for kind in KINDS:
                query = statement("rehearsal/park", proposals=f"public.{kind.proposal_table}")
                self.parked[kind.proposal_table] = [row["id"] for row in connection.execute(query)]

    def unpark(self) -> None:
        """Makes the parked proposals pending again."""
        with self.clone.connect("drill") as connection:
            for table, ids in self.parked.items():
                connection.execute(statement("rehearsal/unpark", proposals=f"public.{table}"), {"ids": ids})

    def flags(self, kind: RollbackKind) -> FlagRollbackResult:
        """A rollback by flags."""
        return roll_back(self.clone, Flags(), self.options.on_clone, kind, reason=REASON)


def _by_flags(kind: RollbackKind) -> Callable[[CloneDrill], Outcome]:
    return lambda drill: Outcome(seconds=drill.flags(kind).acknowledged_seconds)


def _replay_or_park(drill: CloneDrill) -> Outcome:
    drill.unpark()
    settled = drill.flags("instant").settled.total
    waiting = sum(len(ids) for ids in drill.parked.values())
    lost = () if settled == waiting else (f"{waiting} proposals were pending and {settled} were settled",)
    with drill.clone.connect("drill") as connection:
        outcomes = [rules.evaluate(connection, rule) for rule in rules.RULES if rule.file == STRANDED]
    return Outcome(settled, differences=(*lost, *(outcome.sentence for outcome in outcomes if not outcome.passed)))


def _dual_write(drill: CloneDrill) -> Outcome:
    settings = drill.options.on_clone
    result = rollback_dual_write(drill.clone, Flags(), settings.fence, reason=REASON, limits=settings.backfill)
    return Outcome(sum(result.deleted_proposals.values()))


def _backfill(drill: CloneDrill) -> Outcome:
    result = rollback_backfill(drill.clone, reason=REASON, limits=drill.options.on_clone.backfill)
    return Outcome(sum(result.deleted_proposals.values()))


def _schema(drill: CloneDrill) -> Outcome:
    with _folder() as folder:
        export = folder / "proposals.jsonl"
        result = rollback_schema(drill.clone, drill.options.on_clone.schema_change, reason=REASON, export_to=export)
    return Outcome(result.exported_rows)


def _migrate_again(drill: CloneDrill) -> None:
    """The full rollback begins with all phases done, and with nothing to replay."""
    drill.run.migrate()
    drill.park()
    with drill.clone.connect("drill") as connection:
        evidence.record(connection, "verified_backup", dict(drill.backup))


def _full(drill: CloneDrill) -> Outcome:
    with _folder() as folder:
        options = FullRollbackOptions(
            initial_flags=Flags(),
            directory=folder,
            scratch=drill.options.scratch,
            settings=drill.options.on_clone,
        )
        comparison = rollback_full(drill.clone, options, reason=REASON, progress=drill.run.progress).comparison
    return Outcome(comparison.rows, differences=() if comparison.is_equal else (comparison.sentence,))


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="drill_") as folder:
        yield Path(folder)


ROLLBACKS: Mapping[str, DrilledRollback] = {
    "partial": DrilledRollback(_by_flags("partial"), 120.0),
    "instant": DrilledRollback(_by_flags("instant"), 60.0, prepare=CloneDrill.park),
    "replay or park": DrilledRollback(_replay_or_park, 60.0, compares_tables=False),
    "dual write": DrilledRollback(_dual_write, 60.0, grows=True),
    "backfill": DrilledRollback(_backfill, 600.0, grows=True),
    "schema": DrilledRollback(_schema, 300.0),
    "full": DrilledRollback(_full, 600.0, prepare=_migrate_again),
}
"""In the order in which each has something to roll back."""
