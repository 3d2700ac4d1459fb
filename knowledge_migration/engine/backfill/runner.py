"""Runs the batches of one partition to its end (strategy §5.2, with ERRATA F1-F23 mended).

First pass: rows that a user holds are skipped. Second pass: they are waited for. A batch that meets locks or timeouts
is made smaller and tried again, bounded; a batch with a row that cannot become a proposal is halved down to that row,
which goes to quarantine while the rest goes on. Killed anywhere, what was committed stays; a second run does the rest.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from uuid import UUID

import psycopg

from knowledge_migration.engine.backfill.batch import (
    DATA_ERRORS,
    TRANSIENT_ERRORS,
    BatchContext,
    BatchResult,
    Locked,
    pending_rows,
    run_batch,
    run_single_row,
)
from knowledge_migration.engine.backfill.control import Limits, Throttle
from knowledge_migration.engine.backfill.plan import Partition
from knowledge_migration.engine.backfill.run import open_run
from knowledge_migration.engine.database import Connection, Database
from knowledge_migration.engine.entities import BY_NAME
from knowledge_migration.engine.errors import BlockedError, MigrationError
from knowledge_migration.engine.exclusive import exclusive
from knowledge_migration.engine.statements import statement

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
    limits: Limits,
    *,
    dagster_run_id: str | None = None,
    on_progress: OnProgress | None = None,
    on_wait: Callable[[str], None] | None = None,
) -> PartitionResult:
    """Links every row of the partition that has no proposal yet.

    Raises `BusyError` when another process works on it, `BlockedError` when a lock was never given, `MigrationError`
    when the connection is lost. What is committed stays; run it again to go on.
    """
    try:
        with (
            database.connect(f"backfill {partition.entity}", settings=_session(limits)) as connection,
            exclusive(connection, WORK, shared=True),
            exclusive(connection, work_of(partition)),
        ):
            run_id = open_run(connection)
            return _Walk(connection, partition, run_id, limits, dagster_run_id, on_progress, on_wait).whole()
    except (psycopg.errors.AdminShutdown, psycopg.errors.CrashShutdown, psycopg.OperationalError) as error:
        if isinstance(error, TRANSIENT_ERRORS):
            raise
        raise MigrationError(
            f"The connection to {database.display} was lost during the backfill of {partition.entity} {partition.key}: "
            f"{str(error).strip()}. Batches that were committed stay; run the backfill again and it goes on from there."
        ) from error


def work_of(partition: Partition) -> str:
    """The name of the exclusive right to work on a partition."""
    return f"{WORK} of {partition.entity} {partition.key}"


def _session(limits: Limits) -> dict[str, str]:
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
    """The state of one run over one partition: cursor, batch size, result."""

    def __init__(
        self,
        connection: Connection,
        partition: Partition,
        run_id: UUID,
        limits: Limits,
        dagster_run_id: str | None,
        on_progress: OnProgress | None,
        on_wait: Callable[[str], None] | None,
    ) -> None:
        self.connection = connection
        self.limits = limits
        self.context = BatchContext(partition, run_id, dagster_run_id=dagster_run_id)
        self.throttle = Throttle(limits, on_wait)
        self.on_progress = on_progress
        self.result = PartitionResult(partition)
        self.size = limits.batch_size
        self.started = limits.clock()
        self.total = self.remaining()

    def whole(self) -> PartitionResult:
        """Both passes, then a durable commit and a count of what is left."""
        self.walk("skip")
        if self.remaining():
            self.walk("wait")
        self.connection.execute("SET synchronous_commit = on")
        with self.connection.transaction():
            self.connection.execute("SELECT pg_current_xact_id()")
        return replace(self.result, seconds=self.limits.clock() - self.started, remaining=self.remaining())

    def remaining(self) -> int:
        """Rows of the partition that wait for their proposal; quarantined ones do not."""
        partition = self.context.partition
        row = self.connection.execute(
            statement("backfill/unlinked", table=f"public.{BY_NAME[partition.entity].table}", pending=pending_rows()),
            {"entity": partition.entity, "after": partition.after_id, "through": partition.through_id},
        ).fetchone()
        assert row is not None
        return int(row["rows"])

    def walk(self, locked: Locked) -> None:
        """One pass over the partition from its beginning."""
        self.context = replace(self.context, locked=locked)
        after: int | None = self.context.partition.after_id
        while after is not None:
            self.throttle.wait(self.connection)
            after = self.step(after)
            self.report()

    def step(self, after_id: int) -> int | None:
        """One batch above `after_id`; returns where the next begins, None at the end."""
        started = self.limits.clock()
        single = self.size == 1
        for attempt in range(self.limits.retry_attempts):
            try:
                batch = self._single(after_id) if single else self._many(after_id)
                break
            except DATA_ERRORS:
                self.size = max(1, self.size // 2)
                single = self.size == 1
                return after_id
            except TRANSIENT_ERRORS as error:
                self._smaller(attempt, error)
        else:
            raise AssertionError("unreachable: the last attempt raises")
        batch = replace(batch, seconds=self.limits.clock() - started)
        self.result = self.result.plus(batch)
        self._adapt(batch.seconds)
        return batch.through_id

    def _many(self, after_id: int) -> BatchResult:
        rows, through = run_batch(self.connection, self.context, after_id, self.size)
        return BatchResult(rows, 0, through, 0.0)

    def _single(self, after_id: int) -> BatchResult:
        batch, _ = run_single_row(self.connection, self.context, after_id)
        return batch

    def _smaller(self, attempt: int, error: psycopg.Error) -> None:
        """After a lock or a timeout: a smaller batch and a growing pause, or the end of patience."""
        self.result = replace(self.result, retries=self.result.retries + 1)
        if attempt + 1 >= self.limits.retry_attempts:
            partition = self.context.partition
            raise BlockedError(
                f"A batch of {self.context.entity.table} (ids above {partition.after_id} up to {partition.through_id}) "
                f"was stopped {self.limits.retry_attempts} times, last by {error.sqlstate} {str(error).strip()}. "
                "A user's transaction holds rows of it. What is committed stays; end that transaction or wait, then "
                "run it again."
            ) from error
        self.size = max(1, self.size // 2)
        self.limits.sleep(min(0.1 * 2**attempt, 5.0))

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
            self.on_progress(Progress(self.context.partition, done, self.total, self.limits.clock() - self.started))
