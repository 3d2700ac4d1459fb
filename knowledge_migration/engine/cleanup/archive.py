"""Moves old extraction runs with their proposals into `knowledge_extraction_archive` (strategy §11.3, ERRATA V15).

It moves a run only if it is completed and old, has no pending proposal, and no topic, atom, other run or failed shadow
refers to it. Each bounded, audited transaction copies and removes a batch; after a crash, run it again. Archived runs leave
the history, and the API cannot show, undo or decide their proposals; `restore_archived` brings a run back.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Unpack
from uuid import UUID

from psycopg import sql

from knowledge_migration.engine.foundation import audit
from knowledge_migration.engine.foundation.advisory_lock import BACKFILL, advisory_lock
from knowledge_migration.engine.foundation.check_outcome import CheckOutcome, count_and_sample
from knowledge_migration.engine.foundation.database import Connection, Database, exists
from knowledge_migration.engine.foundation.errors import BlockedError, PreconditionError, VerificationError
from knowledge_migration.engine.foundation.sql_files import statement, text_of
from knowledge_migration.engine.schema.ddl import RETRIED, pause
from knowledge_migration.knowledge.audit import AuditAction
from knowledge_migration.knowledge.entity_kinds import KINDS
from knowledge_migration.settings import SchemaChangeSettings

WORK = "archiving extractions"
SUBJECT = "extraction archive"
TABLE = "public.knowledge_extraction_archive"
BATCH_RUNS = 100
LOCK_TIMEOUT_MS = 1_000
AT_WORK = "a user's transaction holds it"
BEFORE_ALL = (datetime(1, 1, 1, tzinfo=UTC), UUID(int=0))
# The search for references reads a whole table; a statement_timeout of the role is meant for the application.
SESSION = {"statement_timeout": "0"}


@dataclass(frozen=True)
class Archived:
    """The moved rows (or those that a dry run would move), and the old runs that stay, by reason."""

    runs: int
    topic_proposals: int
    atom_proposals: int
    kept: Mapping[str, int]

    @property
    def old_runs(self) -> int:
        """All examined runs of the given age."""
        return self.runs + sum(self.kept.values())


@dataclass(frozen=True)
class Extent:
    """The size of the archive, in rows."""

    runs: int
    topic_proposals: int
    atom_proposals: int


OnBatch = Callable[[Archived], None]


def archive_extractions(
    database: Database,
    *,
    older_than_days: float,
    batch_runs: int = BATCH_RUNS,
    dry_run: bool = False,
    now: datetime | None = None,
    limits: SchemaChangeSettings | None = None,
    on_batch: OnBatch | None = None,
    **attribution: Unpack[audit.Attribution],
) -> Archived:
    """Moves every old run that nothing needs, batch by batch; a dry run counts and moves nothing.

    Raises `PreconditionError` without the archive's table, `BlockedError` if a user's transaction keeps a proposal locked,
    `BusyError` while another operator works; completed batches stay moved.
    """
    with _session(database) as connection:
        walk = _Walk(connection, (now or datetime.now(UTC)) - timedelta(days=older_than_days), batch_runs)
        while window := walk.next_window():
            if dry_run:
                walk.would_move(window)
            else:
                walk.move(window, limits or SchemaChangeSettings(), attribution)
            if on_batch:
                on_batch(walk.archived)
        return walk.archived


def restore_archived(database: Database, run_id: UUID, **attribution: Unpack[audit.Attribution]) -> Extent:
    """Brings one run back with its proposals; references to deleted rows become NULL.

    Raises `PreconditionError` if it is not in the archive.
    """
    run = {"run": run_id}
    with _session(database) as connection, connection.transaction():
        held = connection.execute(text_of("cleanup/archive_held"), run).fetchone()
        if held is None:
            raise PreconditionError(f"Run {run_id} is not in the archive. {TABLE} holds the ids of those that are.")
        connection.execute(text_of("cleanup/archive_restore_run"), run)
        for kind in KINDS:
            names = {"proposals": f"public.{kind.proposal_table}", "table": f"public.{kind.table}"}
            similar = sql.Literal(kind.similar.name)
            restore = statement(
                "cleanup/archive_restore_proposals", **names, archived=kind.proposal_table, similar=similar
            )
            connection.execute(restore, run)
        connection.execute(text_of("cleanup/archive_restore_json_nulls"), run)
        connection.execute(text_of("cleanup/archive_forget"), run)
        restored = Extent(1, held["topic_proposals"], held["atom_proposals"])
        after = {"run": str(run_id), **vars(restored)}
        audit.record(connection, AuditAction.RESTORE_EXTRACTION, SUBJECT, after=after, **attribution)
    return restored


def archive_extent(connection: Connection) -> Extent:
    """The size of the archive, in rows."""
    row = connection.execute(text_of("cleanup/archive_extent")).fetchone()
    assert row is not None
    return Extent(row["runs"], row["topic_proposals"], row["atom_proposals"])


def archive_outcome(connection: Connection, *, sample: int = 20) -> CheckOutcome:
    """The archive holds nothing that is needed, and has lost nothing."""
    query = statement("cleanup/nothing_linked_was_archived")
    actions = {"archive": AuditAction.ARCHIVE_EXTRACTIONS, "restore": AuditAction.RESTORE_EXTRACTION}
    parameters: dict[str, object] = {"subject": SUBJECT, **actions}
    count, rows = count_and_sample(connection, query, parameters, sample)
    return CheckOutcome(
        name="nothing_linked_was_archived",
        count=count,
        sample=rows,
        description="No row came from an archived proposal, each run is in one place, and no run was lost.",
        remedy="Restore the runs named here (knowledge-migration cleanup archive --restore RUN) and find out what changed them.",
        numbers=vars(archive_extent(connection)),
    )


@contextmanager
def _session(database: Database) -> Iterator[Connection]:
    """A session that excludes other archiving and rollbacks, which count proposals."""
    with database.connect("cleanup archive", settings=SESSION) as connection:
        if not exists(connection, TABLE):
            raise PreconditionError(f"{TABLE} does not exist. Run phase 1 (job phase_1_schema) first.")
        with advisory_lock(connection, WORK), advisory_lock(connection, BACKFILL, shared=True):
            yield connection


@dataclass
class _Walk:
    """The iteration over the old runs in order of time, with its position and counts."""

    connection: Connection
    before: datetime
    batch_runs: int

    def __post_init__(self) -> None:
        rows = self.connection.execute(text_of("cleanup/archive_referred")).fetchall()
        self.referred = [row["id"] for row in rows]
        self.after = BEFORE_ALL
        self.moved: Counter[str] = Counter()
        self.kept: Counter[str] = Counter()

    @property
    def archived(self) -> Archived:
        """The result so far."""
        moved = self.moved
        return Archived(moved["runs"], moved["topic_proposals"], moved["atom_proposals"], dict(self.kept))

    def next_window(self) -> list[UUID]:
        """The next runs to move; runs that stay are counted by reason. Empty at the end."""
        query = statement("cleanup/archive_window", kept_because=statement("cleanup/kept_because"))
        while True:
            parameters = {
                "before": self.before,
                "after_at": self.after[0],
                "after_id": self.after[1],
                "batch_runs": self.batch_runs,
                "referred": self.referred,
            }
            rows = self.connection.execute(query, parameters).fetchall()
            if not rows:
                return []
            self.after = (rows[-1]["created_at"], rows[-1]["id"])
            self.kept.update(row["kept_because"] for row in rows if row["kept_because"])
            movable = [row["id"] for row in rows if row["kept_because"] is None]
            if movable:
                return movable

    def would_move(self, runs: list[UUID]) -> None:
        """Counts the rows of a batch; locks nothing."""
        row = self.connection.execute(text_of("cleanup/archive_would_move"), {"runs": runs}).fetchone()
        assert row is not None
        self.moved.update({"runs": len(runs), **row})

    def move(self, runs: list[UUID], limits: SchemaChangeSettings, attribution: audit.Attribution) -> None:
        """Moves one batch in a transaction, and retries while a user's transaction holds one of its proposals."""
        cause: Exception | None = None
        for attempt in range(limits.attempts):
            if attempt:
                pause(limits, attempt - 1)
            try:
                self._copy_and_count(runs, attribution)
                return
            except RETRIED as error:
                cause = error
        raise BlockedError(
            f"A batch of {len(runs)} runs could not be archived in {limits.attempts} attempts: another transaction holds "
            f"one of their proposals (first run: {runs[0]}). Earlier batches stay moved. End that transaction or wait, "
            "then run this again."
        ) from cause

    def _copy_and_count(self, runs: list[UUID], attribution: audit.Attribution) -> None:
        with self.connection.transaction():
            timeout = sql.Literal(f"{LOCK_TIMEOUT_MS}ms")
            self.connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(timeout))
            counted = self._move(runs)
            if counted["runs"]:
                audit.record(
                    self.connection, AuditAction.ARCHIVE_EXTRACTIONS, SUBJECT, after=dict(counted), **attribution
                )
        self.moved.update(counted)
        self.kept.update([AT_WORK] * (len(runs) - counted["runs"]))

    def _move(self, runs: list[UUID]) -> Counter[str]:
        """Locks, checks again, copies and removes, in the caller's transaction."""
        locked = self.connection.execute(text_of("cleanup/archive_lock"), {"runs": runs}).fetchall()
        held = [row["id"] for row in locked]
        copy = statement("cleanup/archive_copy", kept_because=statement("cleanup/kept_because"))
        copied = self.connection.execute(copy, {"runs": held, "referred": self.referred}).fetchall()
        ids = {"runs": [row["id"] for row in copied]}
        counted: Counter[str] = Counter(runs=len(copied))
        for kind in KINDS:
            remove = statement("cleanup/archive_remove_proposals", proposals=f"public.{kind.proposal_table}")
            removed = self.connection.execute(remove, ids).rowcount
            counted[kind.proposal_table] = sum(row[kind.proposal_table] for row in copied)
            _same(kind.proposal_table, counted[kind.proposal_table], removed)
        removed = self.connection.execute(text_of("cleanup/archive_remove_runs"), ids).rowcount
        _same("knowledge_extraction_runs", len(copied), removed)
        return counted


def _same(table: str, copied: int, removed: int) -> None:
    if copied != removed:
        raise VerificationError(
            f"{copied} rows of {table} were copied into the archive, but {removed} would have been removed. This batch "
            "was not changed; find the writer that changes proposals without locking their run."
        )
