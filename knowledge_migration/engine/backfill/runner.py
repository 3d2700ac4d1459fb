"""Runs the batches of one partition to its end (strategy §5.2, with ERRATA F1-F23 mended).

Rows that a user holds are skipped, and waited for at the end, one by one: while it waits it holds no other row, so no
user's transaction can deadlock with it. A batch that meets locks or timeouts is made smaller and tried again, bounded; a
batch with a row that cannot become a proposal is halved down to that row, which goes to quarantine while the rest goes
on. Killed anywhere, what was committed stays; a second run does the rest.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import psycopg

from knowledge_migration.engine.backfill.batch import (
    DATA_ERRORS,
    TRANSIENT_ERRORS,
    BatchContext,
    BatchResult,
    Locked,
    pending_rows,
    reason_of,
    run_batch,
    run_single_row,
)
from knowledge_migration.engine.backfill.control import Throttle
from knowledge_migration.engine.backfill.plan import Partition
from knowledge_migration.engine.backfill.run import open_run, require_phase_1
from knowledge_migration.engine.backfill.side_effects import refuse_side_effects
from knowledge_migration.engine.foundation.advisory_lock import advisory_lock
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import BlockedError, MigrationError
from knowledge_migration.engine.foundation.sql_files import statement, text_of
from knowledge_migration.knowledge.entity_kinds import KIND_BY_NAME
from knowledge_migration.settings import BackfillSettings

WORK = "backfill"


@dataclass(frozen=True)
class Progress:
    """Where a partition stands: rows done of those it began with, and the speed since it began."""

    partition: Partition
    done_rows: int
    total_rows: int
    seconds: float

    @property
    def rows_per_second(self) -> float:
        """The mean speed so far; 0 before anything is done."""
        return self.done_rows / self.seconds if self.seconds > 0 else 0.0

    @property
    def eta_seconds(self) -> float | None:
        """Seconds left at that speed; None while it is not known."""
        speed = self.rows_per_second
        return max(self.total_rows - self.done_rows, 0) / speed if speed else None


@dataclass(frozen=True)
class PartitionResult:
    """What a run over a partition did; `remaining` must be 0 for it to be whole."""

    partition: Partition
    linked_rows: int = 0
    quarantined_rows: int = 0
    batches: int = 0
    retries: int = 0
    slowest_batch_seconds: float = 0.0
    seconds: float = 0.0
    remaining: int = 0

    def plus(self, batch: BatchResult) -> "PartitionResult":
        """The result with one more batch."""
        return replace(
            self,
            linked_rows=self.linked_rows + batch.linked_rows,
            quarantined_rows=self.quarantined_rows + batch.quarantined_rows,
            batches=self.batches + 1,
            slowest_batch_seconds=max(self.slowest_batch_seconds, batch.seconds),
        )


OnProgress = Callable[[Progress], None]


def backfill_partition(
    database: Database,
    partition: Partition,
    limits: BackfillSettings,
    *,
    dagster_run_id: str | None = None,
    on_progress: OnProgress | None = None,
    on_wait: Callable[[str], None] | None = None,
) -> PartitionResult:
    """Links every row of the partition that has no proposal yet.

    Raises `BusyError` when another process works on it, `BlockedError` when a lock was never given, `PreconditionError`
    before phase 1 or where a trigger would change more of a row than its link, `MigrationError` when the connection is
    lost or the server refuses. What is committed stays; run it again to go on.
    """
    with (
        translate_db_errors(database, f"the backfill of {partition.entity} {partition.key}"),
        database.connect(f"backfill {partition.entity}", settings=_session(limits)) as connection,
        advisory_lock(connection, WORK, shared=True),
        advisory_lock(connection, work_of(partition)),
    ):
        require_phase_1(connection)
        rows = pending_count(connection, partition)
        refuse_side_effects(connection, partition)
        run_id = open_run(connection, reopen=rows > 0)
        context = BatchContext(partition, run_id, dagster_run_id=dagster_run_id)
        return _Walk(connection, context, rows, limits, on_progress, on_wait).whole()


@contextmanager
def translate_db_errors(database: Database, work: str, *, again: str = "the backfill") -> Iterator[None]:
    """Says of an error of the server what `work` was going on, what stays, and what to run `again`."""
    try:
        yield
    except psycopg.errors.ForeignKeyViolation as error:
        raise MigrationError(
            f"A reference was refused during {work}: {reason_of(error)}. If the migration's own extraction run was "
            "deleted meanwhile, run the backfill again: it begins the run anew."
        ) from error
    except psycopg.OperationalError as error:
        lost = error.sqlstate is None or error.sqlstate.startswith(("08", "57P"))
        what = f"The connection to {database.display} was lost during {work}" if lost else f"The server stopped {work}"
        raise MigrationError(
            f"{what}: {reason_of(error)}. Batches that were committed stay; run {again} again and it goes on from there."
        ) from error


def pending_count(connection: Connection, partition: Partition) -> int:
    """Rows of the partition that wait for their proposal; quarantined ones do not. Counting may take its time."""
    count = statement(
        "backfill/unlinked", table=f"public.{KIND_BY_NAME[partition.entity].table}", pending=pending_rows()
    )
    with connection.transaction():
        connection.execute("SET LOCAL statement_timeout = 0")
        row = connection.execute(
            count, {"entity": partition.entity, "after": partition.after_id, "through": partition.through_id}
        ).fetchone()
    assert row is not None
    return int(row["rows"])


def work_of(partition: Partition) -> str:
    """The name of the exclusive right to work on a partition."""
    return f"{WORK} of {partition.entity} {partition.key}"


def _session(limits: BackfillSettings) -> dict[str, str]:
    """A batch walks the primary key; a plan that reads and sorts the whole table is never right, whatever the estimates.

    Batches need not wait for the disk one by one: one that the server loses in a crash leaves its rows unlinked, and
    the next run takes them. The walk ends with a commit that waits.
    """
    return {
        "enable_seqscan": "off",
        "jit": "off",
        "synchronous_commit": "off",
        "statement_timeout": str(limits.statement_timeout_ms),
        "lock_timeout": str(limits.lock_timeout_ms),
    }


class _Walk:
    """The state of one run over one partition: batch size, result."""

    def __init__(
        self,
        connection: Connection,
        context: BatchContext,
        total_rows: int,
        limits: BackfillSettings,
        on_progress: OnProgress | None,
        on_wait: Callable[[str], None] | None,
    ) -> None:
        self.connection = connection
        self.context = context
        self.total_rows = total_rows
        self.limits = limits
        self.throttle = Throttle(limits, on_wait)
        self.on_progress = on_progress
        self.result = PartitionResult(context.partition)
        self.size = limits.batch_size
        self.started = limits.clock()

    def whole(self) -> PartitionResult:
        """Passes over the partition until nothing is left in it, then waits for the disk."""
        self.walk()
        while self.remaining():
            self.wait_for_one()
            self.walk()
        self.connection.execute("SET synchronous_commit = on")
        self.connection.execute(text_of("backfill/flush"))
        return replace(self.result, seconds=self.limits.clock() - self.started, remaining=self.remaining())

    def remaining(self) -> int:
        """Rows of the partition that still wait for their proposal."""
        return pending_count(self.connection, self.context.partition)

    def walk(self) -> None:
        """One pass over the partition from its beginning, past what users hold."""
        after: int | None = self.context.partition.after_id
        while after is not None:
            self.begin()
            after = self.step(after, "skip")
            self.report()

    def wait_for_one(self) -> None:
        """Takes the first row that is left, waiting for who holds it, and holds nothing else meanwhile."""
        self.begin()
        self.step(self.context.partition.after_id, "wait")
        self.report()

    def begin(self) -> None:
        """Waits for the turn of the next batch, and takes over the size that is set by then."""
        self.throttle.wait(self.connection)
        self.size = min(self.size, self.throttle.batch_size)

    def step(self, after_id: int, locked: Locked) -> int | None:
        """One batch above `after_id`; returns where the next begins, None at the end."""
        for attempt in range(self.limits.retry_attempts):
            started = self.limits.clock()
            try:
                batch = self._batch(after_id, locked)
                break
            except TRANSIENT_ERRORS as error:
                self._smaller(attempt, error)
        else:
            raise AssertionError("unreachable: the last attempt raises")
        if batch is None:
            return after_id
        batch = replace(batch, seconds=self.limits.clock() - started)
        self.result = self.result.plus(batch)
        self._adapt(batch.seconds)
        return batch.through_id

    def _batch(self, after_id: int, locked: Locked) -> BatchResult | None:
        """None when a row of the batch cannot become a proposal: the next one is half as large."""
        context = replace(self.context, locked=locked)
        if self.size == 1 or locked == "wait":
            return run_single_row(self.connection, context, after_id)
        try:
            rows, through = run_batch(self.connection, context, after_id, self.size)
        except DATA_ERRORS:
            self.size = max(1, self.size // 2)
            return None
        return BatchResult(rows, 0, through, 0.0)

    def _smaller(self, attempt: int, error: psycopg.Error) -> None:
        """After a lock or a timeout: a smaller batch and a growing pause, or the end of timeouts."""
        self.result = replace(self.result, retries=self.result.retries + 1)
        if attempt + 1 >= self.limits.retry_attempts:
            raise BlockedError(self._blocked(error)) from error
        self.size = max(1, self.size // 2)
        self.limits.sleep(min(0.1 * 2**attempt, 5.0))

    def _blocked(self, error: psycopg.Error) -> str:
        partition = self.context.partition
        cause = (
            f"It took longer than {self.limits.statement_timeout_ms} ms each time, or somebody cancelled it: see what else "
            "the server does"
            if isinstance(error, psycopg.errors.QueryCanceled)
            else "A user's transaction holds rows of it: end that transaction or wait"
        )
        return (
            f"A batch of {self.context.kind.table} (ids above {partition.after_id} up to {partition.through_id}) "
            f"was stopped {self.limits.retry_attempts} times, last by {error.sqlstate} {reason_of(error)}. {cause}, then "
            "run it again. What is committed stays."
        )

    def _adapt(self, seconds: float) -> None:
        """Halves the batch when it was slow, lets it grow back by a quarter while it is quick."""
        full = self.throttle.batch_size
        if seconds > self.limits.slow_batch_seconds:
            self.size = max(1, self.size // 2)
        else:
            self.size = min(full, self.size + max(1, self.size // 4))

    def report(self) -> None:
        """Tells the listener where the walk stands."""
        if self.on_progress:
            done = self.result.linked_rows + self.result.quarantined_rows
            elapsed = self.limits.clock() - self.started
            self.on_progress(Progress(self.context.partition, done, self.total_rows, elapsed))
