"""The path on a clone, phase by phase, each timed: schema, dual write, backfill, cutover, with a live service all the while."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from knowledge_migration.engine.backfill import completion, plan, runner
from knowledge_migration.engine.backfill.control import Limits
from knowledge_migration.engine.dual_write import switch
from knowledge_migration.engine.dual_write.fence import wait_until_acknowledged
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import VerificationError
from knowledge_migration.engine.foundation.own_objects import current_revision
from knowledge_migration.engine.foundation.sql_files import statement
from knowledge_migration.engine.rollback.backfill import rollback_backfill
from knowledge_migration.engine.schema import upgrade as schema
from knowledge_migration.engine.schema.ddl import LockLimits
from knowledge_migration.engine.validation import rules
from knowledge_migration.knowledge.flags import Flags, set_flags
from knowledge_migration.knowledge.stages import STAGE_FLAGS
from knowledge_migration.knowledge.writers import FenceTimeouts

if TYPE_CHECKING:
    from knowledge_migration.engine.rehearsal.live_service import LiveService

EXTRACTIONS = 20
MESSAGES_EACH = 2
REASON = "rehearsal"
WIDTH_IDS, MAX_PARTITIONS = 50_000, 200

Tell = Callable[[str], None]


@dataclass(frozen=True)
class StagingRunOptions:
    """How the migration runs on the clone: production's limits, but as fast as the clone can."""

    batch_size: int = 100
    lock_limits: LockLimits = field(default_factory=LockLimits)
    timeouts: FenceTimeouts = field(default_factory=lambda: FenceTimeouts(seconds=60.0))

    @property
    def limits(self) -> Limits:
        """Of the backfill."""
        return Limits(batch_size=self.batch_size, rate_limit_per_second=0)


@dataclass(frozen=True)
class Timed:
    """How long a phase took on the clone, and how many rows it wrote."""

    phase: str
    seconds: float
    rows: int

    @property
    def seconds_per_thousand(self) -> float | None:
        """Of the rows that it wrote; None where it wrote none."""
        return 1000 * self.seconds / self.rows if self.rows else None


@dataclass
class StagingRun:
    """The migration of one clone. It has state (what was timed), so it is a class."""

    clone: Database
    service: "LiveService"
    options: StagingRunOptions
    tell: Tell
    timed: list[Timed] = field(default_factory=list)
    extracted: int = 0

    def whole(self) -> None:
        """From the legacy schema to the second stage of the cutover, extracting in each mode; then every rule must hold."""
        self.schema()
        self.dual_write()
        self.backfill()
        self.cutover()
        self.refuse_broken_rules()

    def schema(self) -> None:
        """Phase 1."""
        with self._timing("schema"):
            schema.upgrade(self.clone, self.options.lock_limits)
            switch.store_flags(self.clone, Flags())

    def dual_write(self) -> None:
        """Phase 2, with extractions in it."""
        with self._timing("dual write"):
            switch.switch_on(self.clone, Flags(), self.options.timeouts, reason=REASON)
        self.extract("dual_write")

    def backfill(self) -> None:
        """Phase 3, unlimited in rate."""
        with self._timing("backfill") as done:
            with self.clone.connect("rehearsal") as connection:
                plans = plan.make_plan(connection, width_ids=WIDTH_IDS, max_partitions=MAX_PARTITIONS)
            rows = 0
            for part in (part for made in plans.values() for part in made.partitions):
                rows += runner.backfill_partition(self.clone, part, self.options.limits).linked_rows
            done(rows + completion.complete(self.clone, self.options.limits).linked_rows)

    def cutover(self) -> None:
        """Phase 4 as far as the flags go, with extractions that become proposals."""
        with self._timing("cutover"):
            self.set_flags(**STAGE_FLAGS["full_cutover"], auto_approve_high_confidence=False)
        self.extract("proposal")

    def set_flags(self, **changes: object) -> Flags:
        """Changes flags and waits until the service has seen them."""
        with self.clone.begin() as transaction:
            after = set_flags(transaction, changes, initial=Flags(), actor=REASON, reason=REASON)
        wait_until_acknowledged(self.clone, after, replace(self.options.timeouts, poll_seconds=0.05))
        return after

    def extract(self, mode: str) -> int:
        """Some extractions of the clone's own messages, which must be in this mode; returns how many."""
        with self.clone.connect("rehearsal") as connection:
            wanted = {"skipped": self.extracted, "rows": EXTRACTIONS * MESSAGES_EACH}
            rows = connection.execute(statement("rehearsal/messages"), wanted).fetchall()
        groups = [rows[place : place + MESSAGES_EACH] for place in range(0, len(rows), MESSAGES_EACH)]
        self.extracted += len(rows)
        for group in groups:
            written = self.service.extract(tuple(row["id"] for row in group), group[0]["author_id"])
            if written.mode != mode:
                raise VerificationError(f"An extraction on the clone was in {written.mode} mode, not in {mode}.")
        return len(groups)

    def refuse_broken_rules(self) -> None:
        """Raises `VerificationError` naming the integrity rules that do not hold on the clone."""
        with self.clone.connect("rehearsal") as connection:
            outcomes = [rules.evaluate(connection, rule) for rule in rules.RULES if rule.severity == "error"]
        broken = [outcome.sentence for outcome in outcomes if not outcome.passed]
        if broken:
            raise VerificationError(f"On the clone {len(broken)} integrity rules do not hold: {' '.join(broken)}")

    @contextmanager
    def _timing(self, phase: str) -> Iterator[Callable[[int], None]]:
        rows: list[int] = []
        self.tell(f"clone: {phase}")
        started = time.perf_counter()
        yield rows.append
        self.timed.append(Timed(phase, time.perf_counter() - started, sum(rows)))


def made_legacy(clone: Database, options: StagingRunOptions, connection: Connection) -> None:
    """Takes a clone of a database that is migrated in part back to the legacy schema, for the course to begin with."""
    if current_revision(connection) is None:
        return
    rollback_backfill(clone, reason=REASON, limits=options.limits)
    schema.downgrade(clone, options.lock_limits, to=None)
