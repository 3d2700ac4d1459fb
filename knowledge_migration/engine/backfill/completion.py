"""The end of the backfill: a sweep that waits for locked rows until none is left, then ANALYZE (strategy §5.3).

A moving cursor with SKIP LOCKED leaves gaps, and users write rows above the plan's bound meanwhile; the sweep takes both.
It marks the run completed only when a count is zero. Later rows of an old writer are stragglers for another sweep.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event

from knowledge_migration.engine.backfill.batch import pending_query
from knowledge_migration.engine.backfill.plan import Partition, planned
from knowledge_migration.engine.backfill.run import close_run, open_run, require_phase_1, run_status
from knowledge_migration.engine.backfill.runner import (
    OnProgress,
    PartitionResult,
    backfill_partition,
    translate_db_errors,
)
from knowledge_migration.engine.foundation.advisory_lock import BACKFILL, advisory_lock
from knowledge_migration.engine.foundation.database import Connection, Database, PoolerError
from knowledge_migration.engine.foundation.errors import BusyError, MigrationError, PreconditionError
from knowledge_migration.engine.foundation.sql_files import statement, text_of
from knowledge_migration.engine.schema.capture import RELATIONS
from knowledge_migration.knowledge.entity_kinds import KINDS, EntityKind
from knowledge_migration.settings import BackfillSettings

SWEEP_KEY, SWEEP = "sweep", "sweep of stragglers"
STRAGGLER_SETTINGS = {"statement_timeout": "30000"}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Completion:
    """The results of the final sweep, in order."""

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
    on_pace: Callable[[str], None] | None = None,
) -> Completion:
    """Sweeps both tables until every row is linked, closes the run and runs ANALYZE. No rollback can start meanwhile.

    Raises `MigrationError` when rows still appear after `max_passes`, because a writer works without dual write;
    `PreconditionError` before phase 1; and the errors of `backfill_partition`.
    """
    swept: list[PartitionResult] = []
    with (
        translate_db_errors(database, "the completion of the backfill"),
        database.connect("backfill completion") as connection,
        advisory_lock(connection, BACKFILL, shared=True),
    ):
        require_phase_1(connection)
        pending = _pending(connection)
        open_run(connection, reopen=bool(pending))
        passes = 0
        while pending and passes < max_passes:
            for part in pending:
                result = backfill_partition(
                    database, part, limits, dagster_run_id=dagster_run_id, on_progress=on_progress, on_pace=on_pace
                )
                swept.append(result)
            pending = _pending(connection)
            passes += 1
        if pending:
            raise MigrationError(_still_appearing(pending, max_passes))
        _sweep_relations(connection)
        close_run(connection)
        connection.execute(text_of("backfill/analyze"))
        return Completion(tuple(swept), passes)


def _captures_are_open(connection: Connection) -> bool:
    row = connection.execute(text_of("backfill/captures_open")).fetchone()
    return row is not None and bool(row["found"])


def _sweep_relations(connection: Connection) -> None:
    """Completes the relations of captured atoms; the passes have linked the rows that the capture has skipped."""
    with connection.transaction():
        connection.execute(text_of("backfill/captures_swept"))
        for relation in RELATIONS:
            rows = f"public.{relation.table}"
            connection.execute(statement("backfill/relations_swept", **relation.names(rows)))


def sweep_stragglers(database: Database, limits: BackfillSettings) -> int:
    """Links the rows that a writer left without a proposal since the completion; returns how many.

    No rollback starts while it links; looking for such rows refuses none. Raises `PreconditionError` before the completion,
    `BusyError` during another sweep, or where a rollback keeps it from linking, and the errors of `complete`.
    """
    with (
        database.connect("straggler watch", settings=STRAGGLER_SETTINGS) as connection,
        advisory_lock(connection, SWEEP),
    ):
        if not _has_work(connection):
            return 0
        with advisory_lock(connection, BACKFILL, shared=True):
            if not _has_work(connection):  # a rollback may have ended since
                return 0
            return complete(database, limits, max_passes=limits.sweep_passes).linked_rows


def _has_work(connection: Connection) -> bool:
    """Whether a sweep would do anything; raises `PreconditionError` before the completion."""
    rows = stragglers(connection, minutes=0)
    if rows is None:
        raise PreconditionError(
            "The backfill is not complete; it links every row itself. Complete it first (job phase_3_completion)."
        )
    return rows.total > 0 or _captures_are_open(connection)


def sweep_until(stopped: Event, database: Database, limits: BackfillSettings, *, every_seconds: float) -> None:
    """Sweeps stragglers again and again beside the requests of a service; only one process does at a time.

    Sweeps nothing before the completion or after a rollback, and does not end with a failure: the next sweep tries again.
    """
    while not stopped.wait(every_seconds):
        try:
            linked = sweep_stragglers(database, limits)
        except (BusyError, PreconditionError, PoolerError) as error:
            log.debug("No stragglers are swept now: %s", error)
        except Exception as error:
            log.warning("Stragglers could not be swept, it is tried again: %s", error)
        else:
            log.log(logging.INFO if linked else logging.DEBUG, "%s stragglers are linked.", linked)


def _pending(connection: Connection) -> list[Partition]:
    return [part for kind in KINDS if (part := _unlinked_range(connection, kind))]


def _unlinked_range(connection: Connection, kind: EntityKind) -> Partition | None:
    """The range from the first unlinked row to the present end of the table; None when every row is linked."""
    bounds = connection.execute(statement("backfill/id_bounds", table=f"public.{kind.table}")).fetchone()
    if not bounds or bounds["last_id"] is None:
        return None
    whole = Partition(kind.name, SWEEP_KEY, bounds["first_id"] - 1, bounds["last_id"])
    row = connection.execute(pending_query("unlinked", whole), whole.parameters).fetchone()
    if not row or not row["rows"]:
        return None
    return Partition(kind.name, SWEEP_KEY, row["first_id"] - 1, bounds["last_id"])


def _still_appearing(left: list[Partition], passes: int) -> str:
    where = "; ".join(f"{part.entity}s from id {part.after_id + 1}" for part in left)
    return (
        f"After {passes} passes rows without a proposal still appear ({where}): a writer works without dual write. Stop it, or "
        "materialize dual_write_mode with DUAL_WRITE_CAPTURE=database (triggers capture every session) or after the application "
        "writes through knowledge_migration.knowledge.integration. Then complete the backfill again; linked rows stay linked."
    )


@dataclass(frozen=True)
class Stragglers:
    """Rows that an old writer left without a proposal after the completion: their number and last id per table."""

    rows: dict[str, int]
    last_ids: dict[str, int]

    @property
    def total(self) -> int:
        """The number of rows in all tables."""
        return sum(self.rows.values())

    @property
    def key(self) -> str:
        """Equal as long as these are the same rows."""
        return "-".join(f"{self.last_ids[table]}x{self.rows[table]}" for table in sorted(self.rows))


def stragglers(connection: Connection, *, minutes: float) -> Stragglers | None:
    """The rows without a proposal for that long; None before the completion of the backfill, which links them itself."""
    if run_status(connection) != "completed":
        return None
    plans, rows, last_ids = planned(connection), {}, {}
    for kind in KINDS:
        above = {"entity": kind.name, "above": plans[kind.name].upper_id, "seconds": minutes * 60}
        row = connection.execute(statement("backfill/stragglers", table=f"public.{kind.table}"), above).fetchone()
        assert row is not None  # an aggregate
        rows[kind.table], last_ids[kind.table] = row["rows"], row["last_id"]
    return Stragglers(rows, last_ids)
