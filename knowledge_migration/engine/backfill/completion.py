"""The end of the backfill: a sweep that waits for locked rows until none is left, then ANALYZE (strategy §5.3).

A moving cursor with SKIP LOCKED leaves holes, and rows are written above the plan's bound while it runs: both are taken
here. The run is marked completed only when a count says zero.
"""

from collections.abc import Callable
from dataclasses import dataclass

from knowledge_migration.engine.backfill.batch import pending_rows
from knowledge_migration.engine.backfill.plan import Partition
from knowledge_migration.engine.backfill.run import close_run, open_run, require_phase_1
from knowledge_migration.engine.backfill.runner import (
    WORK,
    OnProgress,
    PartitionResult,
    backfill_partition,
    translate_db_errors,
)
from knowledge_migration.engine.foundation.advisory_lock import advisory_lock
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration.engine.foundation.sql_files import statement, text_of
from knowledge_migration.knowledge.entity_kinds import KINDS, EntityKind
from knowledge_migration.settings import BackfillSettings

SWEEP_KEY = "sweep"
# Counting and ANALYZE may take their time: a limit of the role is meant for the application's statements.
SESSION = {"statement_timeout": "0"}


@dataclass(frozen=True)
class Completion:
    """What the final sweep did, per table."""

    swept: tuple[PartitionResult, ...]
    passes: int

    @property
    def linked_rows(self) -> int:
        """Rows that the partitions had left and the sweep linked."""
        return sum(result.linked_rows for result in self.swept)


def complete(
    database: Database,
    limits: BackfillSettings,
    *,
    max_passes: int = 10,
    dagster_run_id: str | None = None,
    on_progress: OnProgress | None = None,
    on_wait: Callable[[str], None] | None = None,
) -> Completion:
    """Sweeps both tables until nothing is unlinked, closes the run and runs ANALYZE. No rollback can begin meanwhile.

    Raises `MigrationError` when rows still appear after `max_passes`: some writer then works without dual write;
    `PreconditionError` before phase 1; and what `backfill_partition` raises.
    """
    swept: list[PartitionResult] = []
    with (
        translate_db_errors(database, "the completion of the backfill"),
        database.connect("backfill completion", settings=SESSION) as connection,
        advisory_lock(connection, WORK, shared=True),
    ):
        require_phase_1(connection)
        pending = _pending(connection)
        open_run(connection, reopen=bool(pending))
        for number in range(max_passes):
            if not pending:
                return _closed(connection, swept, passes=number)
            for part in pending:
                result = backfill_partition(
                    database, part, limits, dagster_run_id=dagster_run_id, on_progress=on_progress, on_wait=on_wait
                )
                swept.append(result)
            pending = _pending(connection)
        if not pending:
            return _closed(connection, swept, passes=max_passes)
        raise MigrationError(_still_appearing(pending, max_passes))


def _closed(connection: Connection, swept: list[PartitionResult], *, passes: int) -> Completion:
    close_run(connection)
    connection.execute(text_of("backfill/analyze"))
    return Completion(tuple(swept), passes)


def _pending(connection: Connection) -> list[Partition]:
    return [part for kind in KINDS if (part := _unlinked_range(connection, kind))]


def _unlinked_range(connection: Connection, kind: EntityKind) -> Partition | None:
    """The range from the first unlinked row to the present end of the table; None when nothing is unlinked."""
    table = f"public.{kind.table}"
    bounds = connection.execute(statement("backfill/id_bounds", table=table)).fetchone()
    if not bounds or bounds["last_id"] is None:
        return None
    parameters = {"entity": kind.name, "after": bounds["first_id"] - 1, "through": bounds["last_id"]}
    row = connection.execute(statement("backfill/unlinked", table=table, pending=pending_rows()), parameters).fetchone()
    if not row or not row["rows"]:
        return None
    return Partition(kind.name, SWEEP_KEY, row["first_id"] - 1, bounds["last_id"])


def _still_appearing(left: list[Partition], passes: int) -> str:
    where = "; ".join(f"{part.entity}s from id {part.after_id + 1}" for part in left)
    return (
        f"After {passes} passes rows without a proposal still appear ({where}): a writer works without dual write. "
        "Switch dual write on for every process, then complete the backfill again; nothing that was linked is lost."
    )
