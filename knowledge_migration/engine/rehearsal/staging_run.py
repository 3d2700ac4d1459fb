"""The migration of a clone, phase by phase, each timed: schema, dual write, backfill, cutover, with a live service."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from knowledge_migration.engine.backfill import completion, plan, quarantine, runner, triggers
from knowledge_migration.engine.dual_write import switch
from knowledge_migration.engine.dual_write.fence import wait_until_acknowledged
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.errors import VerificationError
from knowledge_migration.engine.foundation.own_objects import current_revision
from knowledge_migration.engine.foundation.sql_files import statement
from knowledge_migration.engine.rehearsal import user_statements
from knowledge_migration.engine.rollback.backfill import rollback_backfill
from knowledge_migration.engine.schema import upgrade as schema
from knowledge_migration.engine.validation import rules
from knowledge_migration.knowledge.entity_kinds import KINDS, EntityKind
from knowledge_migration.knowledge.flags import Flags, set_flags
from knowledge_migration.knowledge.stages import STAGE_FLAGS
from knowledge_migration.settings import Settings

if TYPE_CHECKING:
    from knowledge_migration.engine.rehearsal.live_service import LiveService

EXTRACTIONS = 20
MESSAGES_EACH = 2
REASON = "rehearsal"
SHOWN_IDS = 10
PARTITION_ROWS, MAX_PARTITIONS = 50_000, 200

Progress = Callable[[str], None]


@dataclass(frozen=True)
class WrittenElsewhere:
    """Rows that the backfill's updates also wrote in another table, and the triggers that fire on these updates."""

    table: str
    rows: int
    triggers: str

    @property
    def sentence(self) -> str:
        """For the progress and the check."""
        return f"the backfill also writes {self.rows:,} rows to {self.table}, as MIGRATION_TRIGGERS accepts it ({self.triggers})"


@dataclass(frozen=True)
class TimedPhase:
    """The seconds of a phase on the clone, and the rows that it wrote."""

    phase: str
    seconds: float
    rows: int

    @property
    def seconds_per_thousand(self) -> float | None:
        """Of the rows that it wrote; None where it wrote none."""
        return 1000 * self.seconds / self.rows if self.rows else None


@dataclass(frozen=True)
class SetAside:
    """Rows that go to quarantine for the same reason, and some of their ids."""

    entity: str
    rows: int
    sqlstate: str
    reason: str
    ids: str


@dataclass
class StagingRun:
    """The migration of one clone; it has state: the timed phases, the quarantined rows, the messages that it has extracted."""

    clone: Database
    service: "LiveService"
    settings: Settings
    progress: Progress
    timed: list[TimedPhase] = field(default_factory=list)
    extracted: int = 0
    set_aside: tuple[SetAside, ...] = ()
    side_effects: tuple[WrittenElsewhere, ...] = ()

    def migrate(self) -> None:
        """Runs phases 1 to 4, with extractions in each mode; raises `VerificationError` where an integrity rule is violated.

        Only the first run is timed.
        """
        timed = []
        for phase, work, mode in (
            ("schema", self._schema, None),
            ("dual write", self._dual_write, "dual_write"),
            ("backfill", self._backfill, None),
            ("cutover", self._cutover, "proposal"),
        ):
            self.progress(f"clone: {phase}")
            started = time.perf_counter()
            rows = work()
            timed.append(TimedPhase(phase, time.perf_counter() - started, rows))
            if mode:
                self._extract(mode)
        self.timed = self.timed or timed
        self._refuse_violations()

    def _schema(self) -> int:
        with self.clone.connect("rehearsal") as connection:
            before = user_statements.tried(connection)
            schema.upgrade(self.clone, self.settings.schema_change)
            user_statements.refuse_outages(before, user_statements.tried(connection))
        switch.store_flags(self.clone, Flags())
        return 0

    def _dual_write(self) -> int:
        switch.switch_on(self.clone, Flags(), self.settings.fence, reason=REASON, mode=self.settings.dual_write.capture)
        return 0

    def _backfill(self) -> int:
        limits = self.settings.backfill
        with self.clone.connect("rehearsal") as connection:
            plans = plan.make_plan(connection, partition_rows=PARTITION_ROWS, max_partitions=MAX_PARTITIONS)
        partitions = [partition for planned in plans.values() for partition in planned.partitions]
        results = [runner.backfill_partition(self.clone, partition, limits) for partition in partitions]
        self._accept_quarantine()
        self._report_side_effects(results)
        return sum(result.linked_rows for result in results) + completion.complete(self.clone, limits).linked_rows

    def _accept_quarantine(self) -> None:
        """Accepts the quarantined rows of the clone, as an operator decides in production; reports them by reason."""
        with self.clone.connect("rehearsal") as connection:
            held = quarantine.quarantined(connection, "open")
            for kind in KINDS:
                ids = [row["row_id"] for row in held if row["entity"] == kind.name]
                if ids:
                    quarantine.decide(connection, kind.name, ids, "accept", note=REASON, actor=REASON)
        reasons: dict[tuple[str, str, str], list[int]] = {}
        for row in held:
            reasons.setdefault((row["entity"], row["sqlstate"], row["reason"]), []).append(row["row_id"])
        set_aside = tuple(
            SetAside(entity, len(ids), sqlstate, reason, ", ".join(map(str, ids[:SHOWN_IDS])))
            for (entity, sqlstate, reason), ids in reasons.items()
        )
        for one in set_aside:
            self.progress(f"{one.rows:,} rows ({one.entity} {one.ids}) go to quarantine: {one.reason} ({one.sqlstate})")
        self.set_aside = self.set_aside or set_aside

    def _report_side_effects(self, results: Sequence[runner.PartitionResult]) -> None:
        """Reports the tables that triggers of the user wrote during the backfill, as the operator accepts it."""
        rows: Counter[tuple[EntityKind, str]] = Counter()
        for result in results:
            rows.update({(result.partition.kind, table): count for table, count in result.written_elsewhere.items()})
        with self.clone.connect("rehearsal") as connection:
            side_effects = tuple(
                WrittenElsewhere(table, count, f"{triggers.listed(triggers.fired(connection, kind))} on {kind.table}")
                for (kind, table), count in rows.items()
            )
        for one in side_effects:
            self.progress(one.sentence)
        self.side_effects = self.side_effects or side_effects

    def _cutover(self) -> int:
        changes = {**STAGE_FLAGS["full_cutover"], "auto_approve_high_confidence": False}
        with self.clone.begin() as transaction:
            after = set_flags(transaction, changes, initial=Flags(), actor=REASON, reason=REASON)
        wait_until_acknowledged(self.clone, after, self.settings.fence.replaced(poll_seconds=0.05))
        return 0

    def _extract(self, mode: str) -> None:
        """Some extractions of the clone's own messages, which must be in this mode."""
        with self.clone.connect("rehearsal") as connection:
            page = {"skipped": self.extracted, "rows": EXTRACTIONS * MESSAGES_EACH}
            rows = connection.execute(statement("rehearsal/messages"), page).fetchall()
        self.extracted += len(rows)
        for first in range(0, len(rows), MESSAGES_EACH):
            group = rows[first : first + MESSAGES_EACH]
            written = self.service.extract(tuple(row["id"] for row in group), group[0]["author_id"])
            if written.mode != mode:
                raise VerificationError(f"An extraction on the clone was in {written.mode} mode, not in {mode}.")

    def _refuse_violations(self) -> None:
        with self.clone.connect("rehearsal") as connection:
            outcomes = [rules.evaluate(connection, rule) for rule in rules.RULES if rule.severity == "error"]
        violations = [outcome.sentence for outcome in outcomes if not outcome.passed]
        if violations:
            raise VerificationError(
                f"On the clone {len(violations)} integrity rules are violated: {' '.join(violations)}"
            )


def revert_to_legacy(clone: Database, settings: Settings) -> None:
    """Reverts the clone of a partly migrated database to the legacy schema."""
    with clone.connect("rehearsal") as connection:
        if current_revision(connection) is None:
            return
    rollback_backfill(clone, reason=REASON, limits=settings.backfill)
    schema.downgrade(clone, settings.schema_change, to=None)
