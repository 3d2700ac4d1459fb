"""Runs the batches of one partition until every row is linked or in quarantine (strategy §5.2, ERRATA F1-F23).

Skips rows that users hold and waits for them at the end, one by one, holding nothing else. Locks and timeouts halve the
batch, with bounded retries; data errors halve it down to the row to quarantine. A second run completes a killed one.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import psycopg

from knowledge_migration.engine.backfill.batch import (
    TRANSIENT_ERRORS,
    BatchContext,
    BatchResult,
    Locked,
    belongs_to_row,
    pending_query,
    run_batch,
    run_single_row,
    with_triggers,
)
from knowledge_migration.engine.backfill.control import Throttle
from knowledge_migration.engine.backfill.plan import Partition
from knowledge_migration.engine.backfill.run import open_run, require_phase_1, run_id
from knowledge_migration.engine.backfill.speed import kept_speed
from knowledge_migration.engine.backfill.triggers import SideEffectError, apply_choice
from knowledge_migration.engine.foundation.advisory_lock import BACKFILL, advisory_lock
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import BlockedError, MigrationError
from knowledge_migration.engine.foundation.explanation import reason_of
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.settings import BackfillSettings
from knowledge_migration.telemetry import in_progress

HOPELESS_ROWS = 1_000


@dataclass(frozen=True)
class Progress:
    """The progress of a partition: rows done of those pending at its start, and the seconds since."""

    partition: Partition
    done_rows: int
    total_rows: int
    seconds: float

    @property
    def rows_per_second(self) -> float:
        """The mean speed so far; 0 before the first row."""
        return self.done_rows / self.seconds if self.seconds > 0 else 0.0

    @property
    def eta_seconds(self) -> float | None:
        """Seconds left at that speed; None while it is unknown."""
        speed = self.rows_per_second
        return max(self.total_rows - self.done_rows, 0) / speed if speed else None


@dataclass(frozen=True)
class PartitionResult:
    """The result of a run over a partition; it is complete when `remaining` is 0."""

    partition: Partition
    linked_rows: int = 0
    quarantined_rows: int = 0
    batches: int = 0
    retries: int = 0
    slowest_batch_seconds: float = 0.0
    seconds: float = 0.0
    remaining: int = 0
    written_elsewhere: Mapping[str, int] = field(default_factory=dict)

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
    on_pace: Callable[[str], None] | None = None,
) -> PartitionResult:
    """Links every row of the partition that has no proposal yet.

    Raises `BusyError` when another process works on it, `BlockedError` when a lock was never granted, `PreconditionError`
    before phase 1 or where a trigger would change other columns, `PressureError` at a critical limit, `MigrationError` when
    the connection is lost or the server refuses. Committed batches stay; run it again to resume.
    """
    with (
        translate_db_errors(database, f"the backfill of {partition.entity} {partition.key}"),
        database.connect(f"backfill {partition.entity}", settings=_session(limits)) as connection,
        advisory_lock(connection, BACKFILL, shared=True),
        advisory_lock(connection, f"{BACKFILL} of {partition.entity} {partition.key}"),
    ):
        require_phase_1(connection)
        rows = pending_count(connection, partition)
        apply_choice(connection, limits.triggers)
        context = BatchContext(partition, run_id(connection), dagster_run_id=dagster_run_id)
        context = with_triggers(connection, context, limits.triggers)
        open_run(connection, reopen=rows > 0)
        with kept_speed(database, limits):
            return _PartitionRun(connection, context, rows, limits, on_progress, on_pace).complete()


@contextmanager
def translate_db_errors(database: Database, work: str, *, again: str = "the backfill") -> Iterator[None]:
    """Translates errors of the server: they name the interrupted `work`, what stays, and what to run `again`."""
    try:
        yield
    except psycopg.errors.ForeignKeyViolation as error:
        raise MigrationError(
            f"A reference was rejected during {work}: {reason_of(error)}. If the migration's own extraction run was deleted "
            "meanwhile, run the backfill again: it creates the run anew."
        ) from error
    except psycopg.OperationalError as error:
        lost = error.sqlstate is None or error.sqlstate.startswith(("08", "57P"))
        what = f"The connection to {database.display} was lost during {work}" if lost else f"The server stopped {work}"
        raise MigrationError(
            f"{what}: {reason_of(error)}. Committed batches stay; run {again} again to resume."
        ) from error


def pending_count(connection: Connection, partition: Partition) -> int:
    """Rows of the partition without a proposal, except quarantined ones; counts without a statement timeout."""
    with connection.transaction():
        connection.execute("SET LOCAL statement_timeout = 0")
        row = connection.execute(pending_query("unlinked", partition), partition.parameters).fetchone()
    assert row is not None
    return int(row["rows"])


def _session(limits: BackfillSettings) -> dict[str, str]:
    """A batch reads along the primary key; a plan that reads and sorts the whole table is never right.

    Batches do not wait for the disk one by one: a batch that a crash of the server loses leaves its rows unlinked, and
    the next run takes them. The run ends with a commit that waits.
    """
    return {
        "enable_seqscan": "off",
        "jit": "off",
        "synchronous_commit": "off",
        "statement_timeout": str(limits.statement_timeout_ms),
        "lock_timeout": str(limits.lock_timeout_ms),
    }


class _PartitionRun:
    """The state of one run over one partition: batch size and result."""

    def __init__(
        self,
        connection: Connection,
        context: BatchContext,
        total_rows: int,
        limits: BackfillSettings,
        on_progress: OnProgress | None,
        on_pace: Callable[[str], None] | None,
    ) -> None:
        self.connection = connection
        self.context = context
        self.total_rows = total_rows
        self.limits = limits
        self.throttle = Throttle(limits, on_pace)
        self.on_progress = on_progress
        self.result = PartitionResult(context.partition)
        self.size = limits.batch_size
        self.started = limits.clock()

    def complete(self) -> PartitionResult:
        """Repeats passes over the partition until no row is pending, then waits for the disk."""
        self.pass_over()
        while self.remaining():
            self.step(self.context.partition.after_id, "wait")  # the first pending row; holds nothing else meanwhile
            self.pass_over()
        self.connection.execute("SET synchronous_commit = on")
        self.connection.execute(text_of("backfill/flush"))
        return replace(
            self.result,
            seconds=self.limits.clock() - self.started,
            remaining=self.remaining(),
            written_elsewhere=dict(self.context.written),
        )

    def remaining(self) -> int:
        return pending_count(self.connection, self.context.partition)

    def pass_over(self) -> None:
        """One pass over the partition from its start; skips the rows that users hold."""
        after: int | None = self.context.partition.after_id
        while after is not None:
            after = self.step(after, "skip")

    def step(self, after_id: int, locked: Locked) -> int | None:
        """One batch above `after_id` when the throttle allows it; returns the start of the next one, None at the end."""
        self.throttle.wait(self.connection)
        self.size = min(self.size, self.throttle.batch_size)
        partition, number = self.context.partition, self.result.batches + 1
        with in_progress("backfill batch", entity=partition.entity, ids=partition.key, batch=number) as measured:
            batch = self._attempted(after_id, locked)
            if batch:
                measured(rows=batch.rows)
                self.result = self.result.plus(batch)
                self._refuse_a_common_cause()
                self.size = self.throttle.next_size(self.size, batch.rows, batch.seconds)
            self._report()
        return batch.through_id if batch else after_id

    def _attempted(self, after_id: int, locked: Locked) -> BatchResult | None:
        """One batch with its duration, after bounded retries; None when the next one shall be smaller."""
        for attempt in range(self.limits.retry_attempts):
            started = self.limits.clock()
            try:
                batch = self._batch(after_id, locked)
                return batch and replace(batch, seconds=self.limits.clock() - started)
            except TRANSIENT_ERRORS as error:
                self._smaller(attempt, error)
        raise AssertionError("unreachable: the last attempt raises")

    def _refuse_a_common_cause(self) -> None:
        """Raises `MigrationError` where so many rows were set aside and none was linked that the rows are not the cause."""
        set_aside, partition = self.result.quarantined_rows, self.context.partition
        if self.result.linked_rows == 0 and set_aside >= HOPELESS_ROWS:
            raise MigrationError(
                f"None of the first {set_aside:,} rows of {partition.kind.table} above id {partition.after_id} could be linked; "
                "`knowledge-migration quarantine list` has the reasons. Remove the common cause (a trigger, a missing right), "
                "decide `retry` for these rows, and run it again."
            )

    def _batch(self, after_id: int, locked: Locked) -> BatchResult | None:
        """None when a row of the batch cannot become a proposal; the next batch is half as large."""
        context = replace(self.context, locked=locked)
        if self.size == 1 or locked == "wait":
            return run_single_row(self.connection, context, after_id)
        try:
            rows, through = run_batch(self.connection, context, after_id, self.size)
        except (psycopg.Error, SideEffectError) as error:
            if not belongs_to_row(error):
                raise
            self.size = max(1, self.size // 2)
            return None
        return BatchResult(rows, 0, through, 0.0)

    def _smaller(self, attempt: int, error: psycopg.Error) -> None:
        """Halves the batch and pauses after a lock or a timeout; raises `BlockedError` after the last attempt."""
        self.result = replace(self.result, retries=self.result.retries + 1)
        if attempt + 1 >= self.limits.retry_attempts:
            raise BlockedError(self._blocked(error)) from error
        self.size = max(1, self.size // 2)
        self.limits.sleep(min(0.1 * 2**attempt, 5.0))

    def _blocked(self, error: psycopg.Error) -> str:
        partition = self.context.partition
        cause = (
            f"It exceeded {self.limits.statement_timeout_ms} ms each time, or somebody cancelled it: check what else the "
            "server does"
            if isinstance(error, psycopg.errors.QueryCanceled)
            else "A user's transaction holds rows of it: end that transaction or wait"
        )
        return (
            f"A batch of {partition.kind.table} (ids above {partition.after_id} up to {partition.through_id}) "
            f"was stopped {self.limits.retry_attempts} times, last by {error.sqlstate} {reason_of(error)}. {cause}, then "
            "run it again. Committed batches stay."
        )

    def _report(self) -> None:
        if self.on_progress:
            done = self.result.linked_rows + self.result.quarantined_rows
            elapsed = self.limits.clock() - self.started
            self.on_progress(Progress(self.context.partition, done, self.total_rows, elapsed))
