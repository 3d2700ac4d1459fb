"""Tries the backfill on a sample and takes every batch back: what would happen, how fast, how much WAL.

Each batch is one transaction that is rolled back, so no row lock outlives it. A batch with a row that cannot become a
proposal is counted and passed over, and those after it are half as large, as in the real backfill.
"""

import time
from dataclasses import dataclass

from knowledge_migration.engine.backfill.batch import (
    DATA_ERRORS,
    BatchContext,
    batch_statement,
    pending_rows,
    reason_of,
)
from knowledge_migration.engine.backfill.plan import EntityPlan, Partition
from knowledge_migration.engine.backfill.run import open_run, require_phase_1
from knowledge_migration.engine.backfill.side_effects import refuse_side_effects
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration.engine.foundation.sql_files import statement
from knowledge_migration.knowledge.entity_kinds import KIND_BY_NAME, KINDS
from knowledge_migration.settings import BackfillSettings

FAILURES_PER_BATCH = 10


@dataclass(frozen=True)
class Forecast:
    """What a sample says of the whole of one table. Seconds are with the rate limit, and without."""

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
class _Tried:
    rows: int
    through_id: int
    seconds: float
    wal_bytes: float
    failure: str = ""


def dry_run(
    database: Database, plans: dict[str, EntityPlan], limits: BackfillSettings, *, sample_batches: int = 10
) -> tuple[Forecast, ...]:
    """Forecasts both tables; changes nothing.

    Raises `PreconditionError` before phase 1 or where a trigger would change more of a row than its link, `MigrationError`
    when no batch of the sample could be migrated.
    """
    with database.connect("backfill dry run", settings={"enable_seqscan": "off", "jit": "off"}) as connection:
        require_phase_1(connection)
        return tuple(_sample(connection, plans[kind.name], limits, sample_batches) for kind in KINDS)


def _sample(connection: Connection, plan: EntityPlan, limits: BackfillSettings, batches: int) -> Forecast:
    tried: list[_Tried] = []
    size = limits.batch_size
    for part in plan.partitions:
        if not tried:
            refuse_side_effects(connection, part)
        after = part.after_id
        while after < part.through_id and _wanting(tried, batches):
            tried.append(_try(connection, part, after, size))
            size = max(1, size // 2) if tried[-1].failure else size
            after = tried[-1].through_id
    _refuse_failures_only(KIND_BY_NAME[plan.entity].table, tried)
    return _forecast(plan, limits, tried)


def _wanting(tried: list[_Tried], batches: int) -> bool:
    passed = sum(not batch.failure for batch in tried)
    return passed < batches and len(tried) - passed < batches * FAILURES_PER_BATCH


def _refuse_failures_only(table: str, tried: list[_Tried]) -> None:
    if tried and all(batch.failure for batch in tried):
        raise MigrationError(
            f"None of the {len(tried)} batches of {table} that were tried could be migrated, the last because of: "
            f"{tried[-1].failure}. The asset data_quality_report names such rows and what to do about them. Nothing was "
            "changed."
        )


def _try(connection: Connection, part: Partition, after: int, batch_size: int) -> _Tried:
    """One batch, rolled back."""
    started = time.perf_counter()
    with connection.transaction(force_rollback=True):
        context = BatchContext(part, open_run(connection))
        before = _wal(connection)
        try:
            with connection.transaction():
                row = connection.execute(
                    batch_statement(context.kind, "skip", refresh=True), context.parameters(after, batch_size)
                ).fetchone()
        except DATA_ERRORS as error:
            return _Tried(0, _end(connection, context, after, batch_size), 0.0, 0.0, failure=reason_of(error))
        if row is None:
            return _Tried(0, part.through_id, 0.0, 0.0)
        return _Tried(row["linked_rows"], row["through_id"], time.perf_counter() - started, _wal(connection) - before)


def _end(connection: Connection, context: BatchContext, after: int, batch_size: int) -> int:
    find = statement("backfill/batch_end", table=f"public.{context.kind.table}", pending=pending_rows())
    row = connection.execute(find, context.parameters(after, batch_size)).fetchone()
    return int(row["last_id"]) if row and row["last_id"] is not None else context.partition.through_id


def _wal(connection: Connection) -> float:
    row = connection.execute("SELECT (pg_current_wal_insert_lsn() - '0/0')::double precision AS bytes").fetchone()
    assert row is not None
    return float(row["bytes"])


def _forecast(plan: EntityPlan, limits: BackfillSettings, tried: list[_Tried]) -> Forecast:
    rows = sum(batch.rows for batch in tried)
    seconds = sum(batch.seconds for batch in tried)
    to_do = plan.rows - plan.linked
    speed = rows / seconds if seconds else 0.0
    allowed = limits.batch_size * limits.rate_limit_per_second
    limited = min(speed, allowed) if allowed else speed
    return Forecast(
        table=KIND_BY_NAME[plan.entity].table,
        rows_to_do=to_do,
        sampled_rows=rows,
        failing_batches=sum(bool(batch.failure) for batch in tried),
        rows_per_second=speed,
        wal_bytes_per_row=sum(batch.wal_bytes for batch in tried) / rows if rows else 0.0,
        limited_seconds=to_do / limited if limited else 0.0,
        unlimited_seconds=to_do / speed if speed else 0.0,
    )
