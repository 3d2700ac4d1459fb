"""The way back from phase 3: unlinks and deletes what the backfill made, in batches, and nothing else (strategy §5.3).

Proposals of other runs, dual-written ones among them, are not touched; legacy rows lose only their two new values.
Killed anywhere, a second run goes on. The strategy's bound: 10k rows in under 10 minutes.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from knowledge_migration.engine import audit
from knowledge_migration.engine.backfill.run import run_id, run_status
from knowledge_migration.engine.backfill.runner import WORK
from knowledge_migration.engine.database import Connection, Database
from knowledge_migration.engine.entities import ENTITIES, Entity
from knowledge_migration.engine.errors import VerificationError
from knowledge_migration.engine.exclusive import exclusive
from knowledge_migration.engine.statements import statement, text_of

OnRows = Callable[[str, int], None]


@dataclass(frozen=True)
class BackfillRollback:
    """What was taken back, per table: links cleared and proposals deleted, and how long it took."""

    unlinked_rows: dict[str, int]
    deleted_proposals: dict[str, int]
    seconds: float

    @property
    def rows_per_second(self) -> float:
        """Proposals deleted per second."""
        return sum(self.deleted_proposals.values()) / self.seconds if self.seconds else 0.0


def backfill_extent(connection: Connection) -> dict[str, int]:
    """How many proposals of the migration's run there are, per table: what a rollback would delete."""
    if run_status(connection) is None:
        return {entity.proposals: 0 for entity in ENTITIES}
    run = run_id(connection)
    return {entity.proposals: _remaining(connection, entity, run) for entity in ENTITIES}


def rollback_backfill(
    database: Database,
    *,
    reason: str,
    batch_size: int = 1_000,
    actor: str | None = None,
    dagster_run_id: str | None = None,
    on_rows: OnRows | None = None,
) -> BackfillRollback:
    """Removes the backfill; does nothing when there is none.

    Raises `BusyError` while a backfill runs, `VerificationError` if proposals of the run remain.
    """
    started = time.perf_counter()
    unlinked: dict[str, int] = {}
    deleted: dict[str, int] = {}
    session = {"enable_seqscan": "off"}
    with database.connect("backfill rollback", settings=session) as connection, exclusive(connection, WORK):
        if run_status(connection) is None:
            return BackfillRollback({}, {}, 0.0)
        run = run_id(connection)
        for entity in ENTITIES:
            unlinked[entity.table], deleted[entity.proposals] = _take_back(connection, entity, run, batch_size, on_rows)
        _finish(connection, run, reason, actor, dagster_run_id, deleted)
    return BackfillRollback(unlinked, deleted, time.perf_counter() - started)


def _take_back(
    connection: Connection, entity: Entity, run: UUID, batch_size: int, on_rows: OnRows | None
) -> tuple[int, int]:
    names = {"table": f"public.{entity.table}", "proposals": f"public.{entity.proposals}"}
    unlinked = deleted = 0
    first = connection.execute(statement("backfill/id_bounds", table=names["table"])).fetchone()
    after = (first["first_id"] if first and first["first_id"] is not None else 1) - 1
    while True:
        row = _batch(connection, names, run, after, batch_size)
        if row["through_id"] is None:
            break
        after = row["through_id"]
        unlinked, deleted = unlinked + row["unlinked_rows"], deleted + row["deleted_rows"]
        if on_rows:
            on_rows(entity.table, row["unlinked_rows"])
    return unlinked, deleted + _leftovers(connection, names, run, batch_size)


def _batch(connection: Connection, names: dict[str, str], run: UUID, after: int, batch_size: int) -> dict[str, Any]:
    parameters = {"after": after, "batch_size": batch_size, "run": run}
    with connection.transaction():
        row = connection.execute(statement("rollback/backfill_batch", **names), parameters).fetchone()
    assert row is not None
    return row


def _leftovers(connection: Connection, names: dict[str, str], run: UUID, batch_size: int) -> int:
    total = 0
    while True:
        with connection.transaction():
            cursor = connection.execute(
                statement("rollback/backfill_leftovers", **names), {"run": run, "batch_size": batch_size}
            )
        total += cursor.rowcount
        if cursor.rowcount < batch_size:
            return total


def _remaining(connection: Connection, entity: Entity, run: UUID) -> int:
    counted = connection.execute(
        statement("rollback/backfill_remaining", proposals=f"public.{entity.proposals}"), {"run": run}
    ).fetchone()
    assert counted is not None
    return int(counted["rows"])


def _finish(
    connection: Connection,
    run: UUID,
    reason: str,
    actor: str | None,
    dagster_run_id: str | None,
    deleted: dict[str, int],
) -> None:
    """Removes the run and its ledger, with the audit entry, once nothing refers to it."""
    left = {entity.proposals: count for entity in ENTITIES if (count := _remaining(connection, entity, run))}
    if left:
        raise VerificationError(
            f"Proposals of the backfill remain after its rollback: {left}. Run the rollback again; if they stay, "
            "look at who writes to them (pg_stat_activity)."
        )
    with connection.transaction():
        connection.execute(text_of("rollback/backfill_records"), {"run": run})
        audit.record(
            connection,
            "rollback backfill",
            "phase 3",
            reason=reason,
            actor=actor,
            before=deleted,
            dagster_run_id=dagster_run_id,
        )
