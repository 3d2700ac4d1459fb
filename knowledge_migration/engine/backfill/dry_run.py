"""Tries the backfill on a sample and rolls every batch back: forecasts duration, speed, failures and WAL.

Each batch is one transaction, so no row lock outlives it. A batch with a row that cannot become a proposal is counted
and skipped, and later batches are half as large, as in the real backfill.
"""

import time
from dataclasses import dataclass

import psycopg

from knowledge_migration.engine.backfill.batch import (
    BatchContext,
    belongs_to_row,
    pending_query,
    with_triggers,
)
from knowledge_migration.engine.backfill.control import Throttle
from knowledge_migration.engine.backfill.plan import EntityPlan, Partition
from knowledge_migration.engine.backfill.run import open_run, require_phase_1, run_id
from knowledge_migration.engine.backfill.triggers import apply_choice
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration.engine.foundation.explanation import reason_of
from knowledge_migration.knowledge.entity_kinds import KIND_BY_NAME, KINDS
from knowledge_migration.settings import BackfillSettings

FAILURES_PER_BATCH = 10


@dataclass(frozen=True)
class Forecast:
    """The forecast for one table from its sample: seconds with the rate limit, and without."""

    table: str
    rows_to_do: int
    sampled_rows: int
    failing_batches: int
    rows_per_second: float
    wal_bytes_per_row: float
    limited_seconds: float
    unlimited_seconds: float

    @property
    def wal_bytes(self) -> float:
        """The WAL that the whole table would write."""
        return self.wal_bytes_per_row * self.rows_to_do


@dataclass(frozen=True)
class _Trial:
    rows: int
    through_id: int
    seconds: float = 0.0
    wal_bytes: float = 0.0
    failure: str = ""


def dry_run(
    database: Database, plans: dict[str, EntityPlan], limits: BackfillSettings, *, sample_batches: int = 10
) -> tuple[Forecast, ...]:
    """Forecasts both tables; changes nothing.

    Raises `PreconditionError` before phase 1 or where a trigger would change other columns of a row, `MigrationError` when
    no batch of the sample could be migrated.
    """
    with database.connect("backfill dry run", settings={"enable_seqscan": "off", "jit": "off"}) as connection:
        require_phase_1(connection)
        apply_choice(connection, limits.triggers)
        ordered = [plans[kind.name] for kind in KINDS]
        return tuple(_forecast(plan, limits, _sample(connection, plan, limits, sample_batches)) for plan in ordered)


def _sample(connection: Connection, plan: EntityPlan, limits: BackfillSettings, batches: int) -> list[_Trial]:
    trials: list[_Trial] = []
    throttle, size = Throttle(limits), limits.batch_size
    for part in plan.partitions:
        if not trials:
            with_triggers(connection, BatchContext(part, run_id(connection)), limits.triggers)
        after = part.after_id
        while after < part.through_id and _needs_more(trials, batches):
            trials.append(_try(connection, part, after, size))
            size = max(1, size // 2) if trials[-1].failure else _grown(throttle, size, trials[-1])
            after = trials[-1].through_id
    if trials and all(trial.failure for trial in trials):
        raise MigrationError(
            f"None of the {len(trials)} sampled batches of {KIND_BY_NAME[plan.entity].table} could be migrated; the last "
            f"failed because of: {trials[-1].failure}. The asset data_quality_report names such rows and their remedy. "
            "Nothing was changed."
        )
    return trials


def _grown(throttle: Throttle, size: int, trial: _Trial) -> int:
    """The size of the next batch; a fixed rate has batches of a fixed size."""
    return throttle.next_size(size, trial.rows, trial.seconds) if throttle.limits.is_automatic else size


def _needs_more(trials: list[_Trial], batches: int) -> bool:
    passed = sum(not trial.failure for trial in trials)
    return passed < batches and len(trials) - passed < batches * FAILURES_PER_BATCH


def _try(connection: Connection, part: Partition, after: int, batch_size: int) -> _Trial:
    """One batch, rolled back."""
    started = time.perf_counter()
    with connection.transaction(force_rollback=True):
        context = BatchContext(part, open_run(connection))
        before = _wal(connection)
        parameters = context.parameters(after, batch_size)
        try:
            with connection.transaction():
                row = connection.execute(context.statement(refresh=True), parameters).fetchone()
        except psycopg.Error as error:
            if not belongs_to_row(error):
                raise
            end = connection.execute(pending_query("batch_end", part), parameters).fetchone()
            last_id = end["last_id"] if end else None
            return _Trial(0, part.through_id if last_id is None else last_id, failure=reason_of(error))
        if row is None:
            return _Trial(0, part.through_id)
        return _Trial(row["linked_rows"], row["through_id"], time.perf_counter() - started, _wal(connection) - before)


def _wal(connection: Connection) -> float:
    row = connection.execute("SELECT (pg_current_wal_insert_lsn() - '0/0')::double precision AS bytes").fetchone()
    assert row is not None
    return float(row["bytes"])


def _forecast(plan: EntityPlan, limits: BackfillSettings, trials: list[_Trial]) -> Forecast:
    rows = sum(trial.rows for trial in trials)
    seconds = sum(trial.seconds for trial in trials)
    to_do = plan.rows - plan.linked
    speed = rows / seconds if seconds else 0.0
    allowed = limits.batch_size * limits.fixed_rate
    limited = min(speed, allowed) if allowed else speed
    return Forecast(
        table=KIND_BY_NAME[plan.entity].table,
        rows_to_do=to_do,
        sampled_rows=rows,
        failing_batches=sum(bool(trial.failure) for trial in trials),
        rows_per_second=speed,
        wal_bytes_per_row=sum(trial.wal_bytes for trial in trials) / rows if rows else 0.0,
        limited_seconds=to_do / limited if limited else 0.0,
        unlimited_seconds=to_do / speed if speed else 0.0,
    )
