"""Repairs the ledger of the backfill (strategy §10.4) from links and proposals, which are authoritative.

The backfill does not read the ledger; the comparison of values does: the transaction that wrote an entry shows that a row
was not written to since. A lost or rewritten entry cannot show that any more; those rows are counted and compared by value.
Untouched entries are never changed. After a crash, run it again.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Unpack
from uuid import UUID

from psycopg import sql

from knowledge_migration.engine.backfill.completion import SWEEP_KEY
from knowledge_migration.engine.backfill.plan import EVIDENCE, Partition, planned
from knowledge_migration.engine.backfill.run import open_run, require_phase_1, run_id
from knowledge_migration.engine.foundation import audit, evidence
from knowledge_migration.engine.foundation.advisory_lock import BACKFILL, advisory_lock
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import VerificationError
from knowledge_migration.engine.foundation.sql_files import statement, text_of
from knowledge_migration.engine.status.backfill import BackfillStatus, backfill_status
from knowledge_migration.engine.validation import rules
from knowledge_migration.knowledge.audit import AuditAction
from knowledge_migration.knowledge.entity_kinds import KINDS, EntityKind, EntityName
from knowledge_migration.knowledge.values import LOWEST_ID

SAME_MOMENT = timedelta(seconds=0.5)
"""The times of an entry match its transaction to some microseconds; half a second allows for a delayed process."""

CHANGES_PER_TRANSACTION = 200

Kind = Literal["missing", "double", "altered", "unfounded", "shared"]

MEANING: dict[Kind, str] = {
    "missing": "a batch linked rows and has no entry",
    "double": "repeats another entry",
    "altered": "contradicts the rows of its batch",
    "unfounded": "describes rows that no batch linked",
    "shared": "was written in one transaction with other entries, so it marks no batch",
}


@dataclass(frozen=True)
class Batch:
    """A batch according to its rows; without ids if users have deleted all of them since."""

    moment: datetime
    first_id: int | None
    through_id: int | None
    rows: int
    deleted_rows: int
    marked_rows: int
    uncertain_rows: int


@dataclass(frozen=True)
class Entry:
    """An entry of the ledger that was changed, or that marks nothing; `doubles` is the id of the entry it repeats."""

    id: int
    partition_key: str
    extraction_run_id: UUID
    after_id: int
    through_id: int
    linked_rows: int
    quarantined_rows: int
    seconds: float
    committed_at: datetime
    dagster_run_id: str | None
    shares_transaction: bool
    doubles: int | None

    @property
    def moment(self) -> datetime:
        """The begin of its transaction."""
        try:
            return self.committed_at - timedelta(seconds=self.seconds)
        except (OverflowError, ValueError):  # no batch writes such a number
            return datetime.min.replace(tzinfo=UTC) + 2 * SAME_MOMENT

    def is_about(self, batch: Batch) -> bool:
        """True if it is the entry of this batch, correct or not."""
        if abs(self.moment - batch.moment) > SAME_MOMENT:
            return False
        if batch.first_id is None or batch.through_id is None:
            return True
        return _begins_below(self.after_id, batch.through_id) and self.through_id >= batch.first_id

    def matches(self, batch: Batch, run: UUID) -> bool:
        """True if it agrees with the rows; the batch may have ended later if rows were deleted since."""
        if self.extraction_run_id != run or self.linked_rows != batch.rows:
            return False
        if batch.first_id is None or batch.through_id is None:
            return True
        ends = self.through_id >= batch.through_id if batch.deleted_rows else self.through_id == batch.through_id
        return _begins_below(self.after_id, batch.first_id) and ends


@dataclass(frozen=True)
class Difference:
    """One error of the ledger: the entry (None: missing) and the batch (None: there is none)."""

    kind: Kind
    entity: EntityName
    entry: Entry | None
    batch: Batch | None
    partition_key: str

    @property
    def as_row(self) -> dict[str, Any]:
        """The difference as a row of a table, and of the audit log."""
        entry, batch = self.entry, self.batch
        return {
            "error": self.kind,
            "table": f"{self.entity}s",
            "entry": entry and entry.id,
            "partition": self.partition_key,
            "recorded": entry and f"{entry.linked_rows} rows in ids {entry.after_id + 1} to {entry.through_id}",
            "actual": batch and f"{batch.rows} rows in ids {batch.first_id} to {batch.through_id}",
        }


@dataclass(frozen=True)
class LedgerReport:
    """The differences, the recorded and the actual status of the run, and whether the database was restored from a dump."""

    differences: tuple[Difference, ...]
    run_status: str | None
    actual_run_status: str | None
    restored: bool

    @property
    def run_is_wrong(self) -> bool:
        """True if the recorded status of the migration's run is not the actual one."""
        return self.run_status != self.actual_run_status

    @property
    def is_correct(self) -> bool:
        """True if there is nothing to repair."""
        return not self.differences and not self.run_is_wrong

    @property
    def uncertain_rows(self) -> int:
        """Rows that may have been changed since the backfill; only a lost entry could tell which."""
        return sum(one.batch.uncertain_rows for one in self.differences if one.batch and one.kind != "double")


@dataclass(frozen=True)
class LedgerRecovery:
    """The repaired errors, and a sentence for each comparison of values now."""

    report: LedgerReport
    value_results: tuple[str, ...] = field(default=())


def _begins_below(after_id: int, row_id: int) -> bool:
    """Whether a range above `after_id` has the row; the column cannot hold the number below the lowest id."""
    return after_id < row_id or row_id == LOWEST_ID


def examine_ledger(connection: Connection) -> LedgerReport:
    """The errors of the ledger. Reads only; one hash join a table. Raises `PreconditionError` before phase 1."""
    require_phase_1(connection)
    run = run_id(connection)
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        differences = tuple(one for kind in KINDS for one in _differences(connection, kind, run))
        restored = bool(differences) and _restored(connection, run)
        status = backfill_status(connection)
        return LedgerReport(differences, status.run, _actual_status(connection, status, run), restored)


def recover_ledger(database: Database, **attribution: Unpack[audit.Attribution]) -> LedgerRecovery:
    """Repairs the errors that `examine_ledger` reports; audited, with the earlier content of each entry.

    Raises `BusyError` while a backfill or its rollback runs, `VerificationError` if the database was restored from a dump:
    a repaired ledger would make the checks compare rows that they cannot compare.
    """
    with database.connect("ledger recovery") as connection, advisory_lock(connection, BACKFILL):
        report = examine_ledger(connection)
        if report.restored:
            raise VerificationError(RESTORED)
        for start in range(0, len(report.differences), CHANGES_PER_TRANSACTION):
            _repair(connection, report.differences[start : start + CHANGES_PER_TRANSACTION], attribution)
        if report.run_is_wrong:
            _repair_run(connection, report, attribution)
        return LedgerRecovery(report, tuple(value_results(connection)))


def value_results(connection: Connection) -> Iterator[str]:
    """The result of each comparison of values: satisfied, violated, or the reason why it is impossible."""
    for rule in rules.RULES:
        if rule.compares_values and rule.kind:
            try:
                outcome = rules.evaluate(connection, rule, sample=5)
            except VerificationError as error:
                yield f"{rule.kind.table} cannot be compared: {error}"
                continue
            numbers = outcome.numbers
            left_out = int(numbers["linked"]) - int(numbers["compared"])
            yield (
                f"{outcome.sentence} {numbers['compared']:,} pairs of {rule.kind.table} compared, "
                f"{left_out:,} left out because the row was changed since."
            )


RESTORED = (
    "This database was restored from a dump, or rows and proposals were rewritten as a whole, so the batch that wrote a row is "
    "unknown. The ledger was not changed: a repaired one would make the checks compare rows that they cannot compare. The "
    "backfill works without it. To make the comparison possible again, roll the backfill back and run it again."
)


def _actual_status(connection: Connection, status: BackfillStatus, run: UUID) -> str | None:
    """The status that the rows imply; a run that waits for its completion is running, a lost one was begun."""
    if status.run is None:
        return "running" if any(_has_proposals(connection, kind, run) for kind in KINDS) else None
    return "completed" if status.completed_at and not status.waiting else "running"


def _has_proposals(connection: Connection, kind: EntityKind, run: UUID) -> bool:
    query = statement("rollback/backfill_remaining", proposals=f"public.{kind.proposal_table}")
    row = connection.execute(query, {"run": run}).fetchone()
    return row is not None and row["rows"] > 0


def _restored(connection: Connection, run: UUID) -> bool:
    written = sql.SQL("\nUNION ALL\n").join(_written(kind) for kind in KINDS)
    row = connection.execute(statement("recovery/ledger_restored", written=written), {"run": run}).fetchone()
    assert row is not None
    return bool(row["restored"])


def _written(kind: EntityKind) -> sql.Composed:
    names = {"table": f"public.{kind.table}", "proposals": f"public.{kind.proposal_table}"}
    return statement("recovery/ledger_written", entity=sql.Literal(kind.name), **names)


def _differences(connection: Connection, kind: EntityKind, run: UUID) -> Iterator[Difference]:
    parameters = {"entity": kind.name, "run": run}
    parts = {"written": _written(kind), "entries": statement("recovery/ledger_entries")}
    batches = [Batch(**row) for row in connection.execute(statement("recovery/ledger_batches", **parts), parameters)]
    entries = [Entry(**row) for row in connection.execute(statement("recovery/ledger_suspects", **parts), parameters)]
    return _compared(kind.name, batches, entries, _partitions(connection, kind), run)


def _compared(
    entity: EntityName, batches: Sequence[Batch], entries: Iterable[Entry], partitions: Sequence[Partition], run: UUID
) -> Iterator[Difference]:
    """Pairs each entry with its batch, the nearest in time, and yields the differences."""
    moments, taken = [batch.moment for batch in batches], set[int]()
    for entry in entries:
        if entry.doubles is not None:
            yield Difference("double", entity, entry, None, entry.partition_key)
            continue
        place = _nearest(entry, batches, moments, taken)
        if place is None:
            yield Difference("unfounded", entity, entry, None, entry.partition_key)
            continue
        taken.add(place)
        matches = entry.matches(batches[place], run)
        if not matches or (entry.shares_transaction and batches[place].marked_rows):
            yield Difference("shared" if matches else "altered", entity, entry, batches[place], entry.partition_key)
    for place, batch in enumerate(batches):
        if place not in taken and batch.through_id is not None:
            yield Difference("missing", entity, None, batch, _key_of(batch.through_id, partitions))


def _nearest(entry: Entry, batches: Sequence[Batch], moments: Sequence[datetime], taken: set[int]) -> int | None:
    place, near = bisect_left(moments, entry.moment - SAME_MOMENT), list[int]()
    while place < len(batches) and moments[place] <= entry.moment + SAME_MOMENT:
        if place not in taken and entry.is_about(batches[place]):
            near.append(place)
        place += 1
    return min(near, key=lambda one: abs(moments[one] - entry.moment), default=None)


def _partitions(connection: Connection, kind: EntityKind) -> Sequence[Partition]:
    if evidence.latest(connection, EVIDENCE) is None:
        return ()
    return planned(connection)[kind.name].partitions


def _key_of(row_id: int, partitions: Sequence[Partition]) -> str:
    """The partition of the latest plan that a row belongs to; rows beyond the plan belong to the sweep."""
    return next((one.key for one in partitions if one.after_id < row_id <= one.through_id), SWEEP_KEY)


def _repair(connection: Connection, differences: Sequence[Difference], attribution: audit.Attribution) -> None:
    """Repairs some differences in one transaction with their audit entry; a savepoint gives each its own row version."""
    run = run_id(connection)
    with connection.transaction():
        for one in differences:
            with connection.transaction():
                _repair_one(connection, one, run)
        audit.record(
            connection,
            AuditAction.RECOVER_LEDGER,
            "phase 3",
            after={"repaired": [one.as_row for one in differences]},
            **attribution,
        )


def _repair_one(connection: Connection, one: Difference, run: UUID) -> None:
    if one.batch is None:
        assert one.entry is not None
        connection.execute(text_of("recovery/ledger_delete"), {"id": one.entry.id})
        return
    values = {"run": run, "linked_rows": one.batch.rows, **_ids(one.entry, one.batch)}
    if one.entry:
        connection.execute(text_of("recovery/ledger_correct"), {**values, "id": one.entry.id})
        return
    place = {"entity": one.entity, "partition_key": one.partition_key, "committed_at": one.batch.moment}
    connection.execute(text_of("recovery/ledger_insert"), {**values, **place})


def _ids(entry: Entry | None, batch: Batch) -> dict[str, int | None]:
    """The range of the batch: that of the entry if it is possible, else that of the rows."""
    if batch.first_id is None or batch.through_id is None:
        assert entry is not None
        return {"after_id": entry.after_id, "through_id": entry.through_id}
    began = entry is not None and _begins_below(entry.after_id, batch.first_id)
    ended = entry is not None and batch.deleted_rows and entry.through_id >= batch.through_id
    return {
        "after_id": entry.after_id if entry and began else max(batch.first_id - 1, LOWEST_ID),
        "through_id": entry.through_id if entry and ended else batch.through_id,
    }


def _repair_run(connection: Connection, report: LedgerReport, attribution: audit.Attribution) -> None:
    statuses = {"before": report.run_status, "after": report.actual_run_status}
    with connection.transaction():
        open_run(connection)
        connection.execute(text_of("recovery/set_run_status"), statuses)
        before, after = ({"status": status} for status in statuses.values())
        audit.record(connection, AuditAction.RECOVER_LEDGER, "migration run", before=before, after=after, **attribution)
