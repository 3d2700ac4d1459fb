"""How far the backfill is: exactly, from the rows (strategy §10.4, ERRATA V13), or quickly, from estimates and the ledger.

Reads only, without locks; it may run during a backfill and after a killed one.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from knowledge_migration.engine.backfill.control import read_control
from knowledge_migration.engine.backfill.plan import EVIDENCE, EntityPlan, planned
from knowledge_migration.engine.backfill.run import require_phase_1, run_status
from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.advisory_lock import BACKFILL
from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.own_objects import current_revision
from knowledge_migration.engine.foundation.sql_files import statement, text_of
from knowledge_migration.engine.status.model import BackfillProgress, SpeedChange, TableProgress
from knowledge_migration.engine.status.reading import Reading
from knowledge_migration.knowledge.entity_kinds import KINDS, EntityKind

COUNTING_MS = "200"
"""How long counting one table may take; a table that takes longer is estimated."""


@dataclass(frozen=True)
class LinkedRows:
    """Rows of one table with a proposal, without one, and accepted without one; estimated unless `exact`."""

    table: str
    linked: int
    unlinked: int
    accepted: int
    exact: bool

    @property
    def total(self) -> int:
        """All rows."""
        return self.linked + self.unlinked + self.accepted


@dataclass(frozen=True)
class TableStatus:
    """One table: linked and unlinked rows, quarantined rows by state, partitions of the plan (None: no plan yet)."""

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
        """Rows that the next run takes: unlinked rows except those in quarantine."""
        return self.unlinked - self.quarantine_open - self.quarantine_accepted


@dataclass(frozen=True)
class Runner:
    """A session that works on the backfill now; `rolls_back` if it removes the backfill."""

    pid: int
    application: str
    since: datetime
    rolls_back: bool


@dataclass(frozen=True)
class BackfillStatus:
    """The recorded run (None: not begun), each table, and the sessions that work on it now."""

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
        """What the operator does next."""
        undecided = sum(table.quarantine_open for table in self.tables)
        if any(runner.rolls_back for runner in self.runners):
            return "The backfill is being rolled back; wait until the rollback ends."
        if self.runners:
            pause = " It is paused: knowledge-migration backfill control --resume." if self.paused else ""
            return f"A runner is alive and continues without intervention.{pause}"
        if self.waiting or self.run not in (None, "completed"):
            pause = " (after knowledge-migration backfill control --resume: it is paused)" if self.paused else ""
            return (
                f"No runner is alive. Run the backfill again{pause}: knowledge-migration migrate, or the partitions and "
                "backfill_completion in the UI. Linked rows stay linked; the run takes the remaining rows."
            )
        if undecided:
            return f"{undecided:,} rows wait for a decision: knowledge-migration quarantine list."
        return "The backfill is complete." if self.run else "The backfill has no rows to link."


def backfill_status(connection: Connection) -> BackfillStatus:
    """The exact state; raises `PreconditionError` before phase 1. Scans both tables once."""
    require_phase_1(connection)
    plans = planned(connection) if evidence.latest(connection, EVIDENCE) else {}
    run = connection.execute(text_of("backfill/run")).fetchone()
    return BackfillStatus(
        run=run["status"] if run else None,
        started_at=run["started_at"] if run else None,
        completed_at=run["completed_at"] if run else None,
        paused=read_control(connection).paused,
        tables=tuple(_table(connection, kind, plans.get(kind.name)) for kind in KINDS),
        runners=live_runners(connection),
    )


def live_runners(connection: Connection) -> tuple[Runner, ...]:
    """The sessions that work on the backfill now."""
    rows = connection.execute(text_of("status/runners"), {"work": BACKFILL})
    return tuple(Runner(row["pid"], row["application"], row["since"], rolls_back=not row["shared"]) for row in rows)


def linked_rows(connection: Connection, kind: EntityKind, *, exact: bool = False) -> LinkedRows:
    """Counts the rows of one table; estimates them where counting takes too long, unless `exact`."""
    table, parameters = f"public.{kind.table}", {"entity": kind.name}
    try:
        with connection.transaction():
            timeout = {"timeout": "0" if exact else COUNTING_MS}
            connection.execute(text_of("performance/endpoint_statement_timeout"), timeout)
            row = connection.execute(statement("status/linked_rows", table=table), parameters).fetchone()
        counted = True
    except psycopg.errors.QueryCanceled:
        row = connection.execute(text_of("status/linked_rows_estimated"), {**parameters, "table": table}).fetchone()
        counted = False
    assert row is not None
    return LinkedRows(kind.table, row["linked"], row["unlinked"], row["accepted"], counted)


def read_progress(reading: Reading) -> BackfillProgress:
    """The planner's row counts and what ledger and quarantine record; reads no row of the tables themselves."""
    connection = reading.connection

    def rows(name: str, relation: str | None = None) -> list[dict[str, Any]]:
        return reading.part("backfill", lambda: connection.execute(text_of(name)).fetchall(), relation) or []

    estimates = {row["entity"]: row["rows"] for row in rows("status/row_estimates")}
    ledger = {row["entity"]: row for row in rows("status/ledger_totals", "migration.backfill_batch")}
    quarantine = rows("status/quarantine_totals", "migration.quarantine")
    tables = tuple(
        TableProgress(
            kind.table,
            estimates.get(kind.name),
            ledger.get(kind.name, {}).get("linked"),
            ledger.get(kind.name, {}).get("last_batch_at"),
            {row["state"]: row["rows"] for row in quarantine if row["entity"] == kind.name},
        )
        for kind in KINDS
    )
    return BackfillProgress(
        reading.part("schema", lambda: current_revision(connection)),
        reading.part("backfill", lambda: run_status(connection)),
        tables,
        next(
            reversed(reading.part("backfill", lambda: read_speed(connection), "migration.backfill_speed") or ()), None
        ),
    )


def read_speed(connection: Connection) -> tuple[SpeedChange, ...]:
    """The last changes of the speed, in order; none at a fixed rate."""
    return tuple(SpeedChange(**row) for row in connection.execute(text_of("status/speed")))


def _table(connection: Connection, kind: EntityKind, plan: EntityPlan | None) -> TableStatus:
    starts = [part.after_id + 1 for part in plan.partitions] if plan else []
    through = plan.partitions[-1].through_id if plan and plan.partitions else 0
    query = statement("status/backfill_progress", table=f"public.{kind.table}")
    row = connection.execute(query, {"entity": kind.name, "starts": starts or [1], "through": through}).fetchone()
    assert row is not None
    ranges_waiting = row.pop("ranges_waiting")
    number = len(plan.partitions) if plan else None
    done = None if number is None else number - (ranges_waiting if number else 0)
    return TableStatus(table=kind.table, **row, partitions=number, partitions_done=done)
