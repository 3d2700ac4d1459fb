"""Makes the ledger of the backfill true again (strategy §10.4): links and proposals are the truth, the ledger is a record.

The backfill does not read it, so it goes on whatever the ledger says. The comparison of values does: the transaction that
wrote an entry tells that a row was not written to since. What a lost or rewritten entry knew of that cannot be brought
back; how many rows that concerns is counted, and they are compared by what row and proposal say of each other.

An entry that nobody has touched is never written to. Killed anywhere, a second run does the rest.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from psycopg import sql

from knowledge_migration.engine.backfill.completion import SESSION, SWEEP_KEY
from knowledge_migration.engine.backfill.plan import EVIDENCE, Partition, planned
from knowledge_migration.engine.backfill.run import open_run, require_phase_1, run_id
from knowledge_migration.engine.backfill.runner import WORK
from knowledge_migration.engine.foundation import audit, evidence
from knowledge_migration.engine.foundation.advisory_lock import advisory_lock
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import VerificationError
from knowledge_migration.engine.foundation.sql_files import statement, text_of
from knowledge_migration.engine.status.backfill import BackfillStatus, backfill_status
from knowledge_migration.engine.validation import rules
from knowledge_migration.knowledge.audit import AuditAction
from knowledge_migration.knowledge.entity_kinds import KINDS, EntityKind, EntityName

SAME_MOMENT = timedelta(seconds=0.5)
"""An entry's own times tell its transaction's to some microseconds; half a second is for a process that was held up."""

CHANGES_PER_TRANSACTION = 200

Kind = Literal["missing", "double", "altered", "unfounded", "shared"]

MEANING: dict[Kind, str] = {
    "missing": "rows were linked by a batch that the ledger does not know",
    "double": "says the same as another entry",
    "altered": "says of its batch what the rows do not",
    "unfounded": "claims rows that no batch has linked so",
    "shared": "was written together with other entries, so that it marks no batch",
}


@dataclass(frozen=True)
class Batch:
    """A batch as its rows tell it; without ids where users have deleted all of them since."""

    moment: datetime
    first_id: int | None
    through_id: int | None
    rows: int
    deleted_rows: int
    marked_rows: int
    uncertain_rows: int


@dataclass(frozen=True)
class Entry:
    """An entry of the ledger that somebody has written to, or that marks nothing; `doubles` is the id of its double."""

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
        """When its transaction began."""
        try:
            return self.committed_at - timedelta(seconds=self.seconds)
        except (OverflowError, ValueError):  # a number that no batch has written
            return datetime.min.replace(tzinfo=UTC) + 2 * SAME_MOMENT

    def speaks_of(self, batch: Batch) -> bool:
        """Whether it is the entry of this batch, right or wrong."""
        if abs(self.moment - batch.moment) > SAME_MOMENT:
            return False
        if batch.first_id is None or batch.through_id is None:
            return True
        return self.after_id < batch.through_id and self.through_id >= batch.first_id

    def is_right(self, batch: Batch, run: UUID) -> bool:
        """Whether it says what the rows tell; where rows were deleted since it may have ended later."""
        if self.extraction_run_id != run or self.linked_rows != batch.rows:
            return False
        if batch.first_id is None or batch.through_id is None:
            return True
        ends = self.through_id >= batch.through_id if batch.deleted_rows else self.through_id == batch.through_id
        return self.after_id < batch.first_id and ends


@dataclass(frozen=True)
class Difference:
    """One thing that is wrong with the ledger: the entry (None: missing) and the batch (None: there is none)."""

    kind: Kind
    entity: EntityName
    entry: Entry | None
    batch: Batch | None
    partition_key: str

    @property
    def in_words(self) -> dict[str, Any]:
        """As a row of a table, and of the audit log."""
        entry, batch = self.entry, self.batch
        return {
            "what": self.kind,
            "table": f"{self.entity}s",
            "entry": entry and entry.id,
            "partition": self.partition_key,
            "said": entry and f"{entry.linked_rows} rows in ids {entry.after_id + 1} to {entry.through_id}",
            "rows tell": batch and f"{batch.rows} rows in ids {batch.first_id} to {batch.through_id}",
        }


@dataclass(frozen=True)
class LedgerReport:
    """What is wrong: the differences, the run's status as it is and as it should be, and what no check can tell any more."""

    differences: tuple[Difference, ...]
    run_status: str | None
    true_run_status: str | None
    restored: bool

    @property
    def run_is_wrong(self) -> bool:
        """Whether the migration's run says what is not so."""
        return self.run_status != self.true_run_status

    @property
    def whole(self) -> bool:
        """Whether nothing is to be done."""
        return not self.differences and not self.run_is_wrong

    @property
    def uncertain_rows(self) -> int:
        """Rows whose proposal or own values were written to since, and only a lost entry could have told which."""
        return sum(one.batch.uncertain_rows for one in self.differences if one.batch and one.kind != "double")


@dataclass(frozen=True)
class LedgerRecovery:
    """What was wrong and is mended, and what the comparisons of values say now, each in a sentence."""

    report: LedgerReport
    judgements: tuple[str, ...] = field(default=())


def examine_ledger(connection: Connection) -> LedgerReport:
    """What is wrong with the ledger. Reads only; one hash join a table. Raises `PreconditionError` before phase 1."""
    require_phase_1(connection)
    run = run_id(connection)
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        differences = tuple(one for kind in KINDS for one in _differences(connection, kind, run))
        restored = bool(differences) and _restored(connection, run)
        status = backfill_status(connection)
        return LedgerReport(differences, status.run, _true_status(connection, status, run), restored)


def recover_ledger(
    database: Database, *, reason: str, actor: str | None = None, dagster_run_id: str | None = None
) -> LedgerRecovery:
    """Mends what `examine_ledger` finds; does nothing where nothing is wrong. Audited, with what each entry said before.

    Raises `BusyError` while a backfill or its rollback runs, `VerificationError` where the database was restored from a
    dump: a mended ledger would tell the checks that they can judge what they cannot.
    """
    with database.connect("ledger recovery", settings=SESSION) as connection, advisory_lock(connection, WORK):
        report = examine_ledger(connection)
        if report.restored:
            raise VerificationError(RESTORED)
        who = {"reason": reason, "actor": actor, "dagster_run_id": dagster_run_id}
        for start in range(0, len(report.differences), CHANGES_PER_TRANSACTION):
            _mend(connection, report.differences[start : start + CHANGES_PER_TRANSACTION], who)
        if report.run_is_wrong:
            _mend_run(connection, report, who)
        return LedgerRecovery(report, tuple(judgements(connection)))


def judgements(connection: Connection) -> Iterator[str]:
    """What each comparison of values says: that it holds, what breaks it, or that and why it cannot judge."""
    for rule in rules.RULES:
        if rule.compares_values and rule.kind:
            try:
                outcome = rules.evaluate(connection, rule, sample=5)
            except VerificationError as error:
                yield f"{rule.kind.table} cannot be judged: {error}"
                continue
            numbers = outcome.numbers
            left_out = int(numbers["linked"]) - int(numbers["compared"])
            yield (
                f"{outcome.sentence} {numbers['compared']:,} pairs of {rule.kind.table} compared, "
                f"{left_out:,} left out because somebody has written to the row since."
            )


RESTORED = (
    "This database was restored from a dump, or rows and proposals were rewritten as a whole: which batch wrote a row can no "
    "longer be told. The ledger is left as it is, for a mended one would tell the checks that they can judge what they cannot. "
    "The backfill goes on without it. To be able to judge again, roll the backfill back and run it again."
)


def _true_status(connection: Connection, status: BackfillStatus, run: UUID) -> str | None:
    """What the migration's run has to say; one that waits for its completion stays running, a lost one was begun."""
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
    found = (
        connection.execute(statement(f"recovery/{name}", **parts), parameters)
        for name in ("ledger_batches", "ledger_suspects")
    )
    batches, entries = [Batch(**row) for row in next(found)], [Entry(**row) for row in next(found)]
    return _compared(kind.name, batches, entries, _partitions(connection, kind), run)


def _compared(
    entity: EntityName, batches: Sequence[Batch], entries: Iterable[Entry], partitions: Sequence[Partition], run: UUID
) -> Iterator[Difference]:
    """Gives each entry the batch that it speaks of, the nearest in time, and says what is wrong with each."""
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
        right = entry.is_right(batches[place], run)
        if not right or (entry.shares_transaction and batches[place].marked_rows):
            yield Difference("shared" if right else "altered", entity, entry, batches[place], entry.partition_key)
    for place, batch in enumerate(batches):
        if place not in taken and batch.through_id is not None:
            yield Difference("missing", entity, None, batch, _key_of(batch.through_id, partitions))


def _nearest(entry: Entry, batches: Sequence[Batch], moments: Sequence[datetime], taken: set[int]) -> int | None:
    place, found = bisect_left(moments, entry.moment - SAME_MOMENT), list[int]()
    while place < len(batches) and moments[place] <= entry.moment + SAME_MOMENT:
        if place not in taken and entry.speaks_of(batches[place]):
            found.append(place)
        place += 1
    return min(found, key=lambda one: abs(moments[one] - entry.moment), default=None)


def _partitions(connection: Connection, kind: EntityKind) -> Sequence[Partition]:
    if evidence.latest(connection, EVIDENCE) is None:
        return ()
    return planned(connection)[kind.name].partitions


def _key_of(row_id: int, partitions: Sequence[Partition]) -> str:
    """The partition of the latest plan that a row belongs to; what lies beyond it the sweep has taken."""
    return next((one.key for one in partitions if one.after_id < row_id <= one.through_id), SWEEP_KEY)


def _mend(connection: Connection, differences: Sequence[Difference], who: dict[str, Any]) -> None:
    """Some changes in one transaction with their audit entry; each in a savepoint, which gives it a version of its own."""
    run = run_id(connection)
    with connection.transaction():
        for one in differences:
            with connection.transaction():
                _mend_one(connection, one, run)
        audit.record(
            connection,
            AuditAction.RECOVER_LEDGER,
            "phase 3",
            after={"mended": [one.in_words for one in differences]},
            **who,
        )


def _mend_one(connection: Connection, one: Difference, run: UUID) -> None:
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
    """Where the batch began and ended: what the entry says if it can be, else what the rows tell."""
    if batch.first_id is None or batch.through_id is None:
        assert entry is not None
        return {"after_id": entry.after_id, "through_id": entry.through_id}
    began = entry is not None and entry.after_id < batch.first_id
    ended = entry is not None and batch.deleted_rows and entry.through_id >= batch.through_id
    return {
        "after_id": entry.after_id if entry and began else batch.first_id - 1,
        "through_id": entry.through_id if entry and ended else batch.through_id,
    }


def _mend_run(connection: Connection, report: LedgerReport, who: dict[str, Any]) -> None:
    statuses = {"before": report.run_status, "after": report.true_run_status}
    with connection.transaction():
        open_run(connection)
        connection.execute(text_of("recovery/set_run_status"), statuses)
        before, after = ({"status": status} for status in statuses.values())
        audit.record(connection, AuditAction.RECOVER_LEDGER, "migration run", before=before, after=after, **who)
