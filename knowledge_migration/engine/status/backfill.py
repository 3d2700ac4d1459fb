"""How far the backfill is, told by the rows themselves and not by what somebody wrote down (strategy §10.4, ERRATA V13).

Reads only, without locks: it may be asked while a backfill runs, and after it was killed.
"""

from dataclasses import dataclass
from datetime import datetime

from knowledge_migration.engine.backfill.control import read_control
from knowledge_migration.engine.backfill.phase import EVIDENCE, planned
from knowledge_migration.engine.backfill.plan import EntityPlan
from knowledge_migration.engine.backfill.run import require_phase_1
from knowledge_migration.engine.backfill.runner import WORK
from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.sql_files import statement, text_of
from knowledge_migration.knowledge.entity_kinds import KINDS, EntityKind


@dataclass(frozen=True)
class TableStatus:
    """One table: rows with their proposal and without; those set aside; the plan's partitions (None: no plan yet)."""

    table: str
    linked: int
    unlinked: int
    quarantine_open: int
    quarantine_retry: int
    quarantine_accepted: int
    partitions: int | None
    partitions_done: int | None

    @property
    def waiting(self) -> int:
        """Rows that the next run takes: unlinked ones but for those set aside."""
        return self.unlinked - self.quarantine_open - self.quarantine_accepted


@dataclass(frozen=True)
class Runner:
    """A session that works on the backfill now; `rolls_back` if it takes the backfill back."""

    pid: int
    application: str
    since: datetime
    rolls_back: bool


@dataclass(frozen=True)
class BackfillStatus:
    """The whole: the migration's run as it is recorded (None: never begun), each table, who works on it now."""

    run: str | None
    started_at: datetime | None
    completed_at: datetime | None
    paused: bool
    tables: tuple[TableStatus, ...]
    runners: tuple[Runner, ...]

    @property
    def waiting(self) -> int:
        """Rows of both tables that the next run takes."""
        return sum(table.waiting for table in self.tables)

    @property
    def next_step(self) -> str:
        """What the operator does now."""
        undecided = sum(table.quarantine_open for table in self.tables)
        if any(runner.rolls_back for runner in self.runners):
            return "The backfill is being rolled back; wait for that."
        if self.runners:
            pause = " It is paused: knowledge-migration backfill control --resume." if self.paused else ""
            return f"A runner is alive; it goes on by itself.{pause}"
        if self.waiting or self.run not in (None, "completed"):
            pause = " (after knowledge-migration backfill control --resume: it is paused)" if self.paused else ""
            return (
                f"Nobody works on it. Run it again{pause}: knowledge-migration migrate, or the partitions and "
                "backfill_completion in the UI. What is linked stays; the run takes what is left."
            )
        if undecided:
            return f"{undecided:,} rows wait for a decision: knowledge-migration quarantine list."
        return "The backfill is complete." if self.run else "The backfill has nothing to do."


def backfill_status(connection: Connection) -> BackfillStatus:
    """The present state; raises `PreconditionError` before phase 1. Scans both tables once."""
    require_phase_1(connection)
    plans = planned(connection) if evidence.latest(connection, EVIDENCE) else {}
    run = connection.execute(text_of("backfill/run")).fetchone()
    runners = connection.execute(text_of("recovery/runners"), {"work": WORK}).fetchall()
    return BackfillStatus(
        run=run["status"] if run else None,
        started_at=run["started_at"] if run else None,
        completed_at=run["completed_at"] if run else None,
        paused=read_control(connection).paused,
        tables=tuple(_table(connection, kind, plans.get(kind.name)) for kind in KINDS),
        runners=tuple(
            Runner(row["pid"], row["application"], row["since"], rolls_back=not row["shared"]) for row in runners
        ),
    )


def _table(connection: Connection, kind: EntityKind, plan: EntityPlan | None) -> TableStatus:
    starts = [part.after_id + 1 for part in plan.partitions] if plan else []
    through = plan.partitions[-1].through_id if plan and plan.partitions else 0
    query = statement("recovery/backfill_progress", table=f"public.{kind.table}")
    row = connection.execute(query, {"entity": kind.name, "starts": starts or [1], "through": through}).fetchone()
    assert row is not None
    ranges_waiting = row.pop("ranges_waiting")
    number = len(plan.partitions) if plan else None
    return TableStatus(
        table=kind.table,
        **row,
        partitions=number,
        partitions_done=None if number is None else number - (ranges_waiting if number else 0),
    )
