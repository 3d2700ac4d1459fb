"""Moves old extraction runs with their proposals into `knowledge_extraction_archive` (strategy §11.3, ERRATA V15).

Moved is what is over, old, and what nobody needs any more: no topic or atom came from it or is stood for by it, nothing in
it waits for review, no other run and no failed shadow refers to it. A run is in exactly one place at any moment: it is
copied and removed in one bounded transaction, audited in the same. Killed anywhere, a second run goes on. Runs that
somebody is at work on are left for the next time.

An archived run is no longer in the run history, and its proposals can no longer be seen, undone or decided about through
the API; `restore_archived` brings a run back as it was. The audit log keeps every decision about them.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import sql

from knowledge_migration.engine.backfill.runner import WORK as BACKFILL_WORK
from knowledge_migration.engine.foundation import audit
from knowledge_migration.engine.foundation.advisory_lock import advisory_lock
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
OLDER_THAN_DAYS = 30.0
BATCH_RUNS = 100
LOCK_TIMEOUT_MS = 1_000
AT_WORK = "somebody is at work on it"
BEFORE_ALL = (datetime(1, 1, 1, tzinfo=UTC), UUID(int=0))
# The search for references between runs reads a whole table: a limit of the role is meant for the application's statements.
SESSION = {"statement_timeout": "0"}


@dataclass(frozen=True)
class Archived:
    """What was moved (or would be), and how many old runs stay, by reason."""

    runs: int
    topic_proposals: int
    atom_proposals: int
    kept: Mapping[str, int]

    @property
    def old_runs(self) -> int:
        """All runs of the given age that were looked at."""
        return self.runs + sum(self.kept.values())


@dataclass(frozen=True)
class Extent:
    """How much the archive holds."""

    runs: int
    topic_proposals: int
    atom_proposals: int


OnBatch = Callable[[Archived], None]


def archive_extractions(
    database: Database,
    *,
    reason: str,
    older_than_days: float = OLDER_THAN_DAYS,
    batch_runs: int = BATCH_RUNS,
    dry_run: bool = False,
    now: datetime | None = None,
    limits: SchemaChangeSettings | None = None,
    actor: str | None = None,
    dagster_run_id: str | None = None,
    on_batch: OnBatch | None = None,
) -> Archived:
    """Moves every old run that may go, batch by batch; a dry run counts and moves nothing.

    Raises `PreconditionError` without the archive's table, `BlockedError` when a user's transaction never lets go of a
    proposal, `BusyError` beside another operator; what is moved stays moved.
    """
    with _session(database) as connection:
        walk = _Walk(connection, (now or datetime.now(UTC)) - timedelta(days=older_than_days), batch_runs)
        audited = {"reason": reason, "actor": actor, "dagster_run_id": dagster_run_id}
        while window := walk.next_window():
            if dry_run:
                walk.would_move(window)
            else:
                walk.move(window, limits or SchemaChangeSettings(), audited)
            if on_batch:
                on_batch(walk.archived)
        return walk.archived


def restore_archived(
    database: Database, run_id: UUID, *, reason: str, actor: str | None = None, dagster_run_id: str | None = None
) -> Extent:
    """Brings one run back with its proposals, as they were but for references to rows that are gone.

    Raises `PreconditionError` when it is not in the archive.
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
        who = {"reason": reason, "actor": actor, "dagster_run_id": dagster_run_id}
        audit.record(connection, AuditAction.RESTORE_EXTRACTION, SUBJECT, after=after, **who)
    return restored


def archive_extent(connection: Connection) -> Extent:
    """How much the archive holds."""
    row = connection.execute(text_of("cleanup/archive_extent")).fetchone()
    assert row is not None
    return Extent(row["runs"], row["topic_proposals"], row["atom_proposals"])


def archive_outcome(connection: Connection, *, sample: int = 20) -> CheckOutcome:
    """Whether nothing that is needed is in the archive, and nothing that was put there is gone."""
    query = statement("cleanup/nothing_linked_was_archived")
    actions = {"archive": AuditAction.ARCHIVE_EXTRACTIONS, "restore": AuditAction.RESTORE_EXTRACTION}
    parameters: dict[str, object] = {"subject": SUBJECT, **actions}
    count, rows = count_and_sample(connection, query, parameters, sample)
    return CheckOutcome(
        name="nothing_linked_was_archived",
        count=count,
        sample=rows,
        description="No row came from an archived proposal, each run is in one place, and none was lost on the way.",
        remedy="Bring the runs named here back (knowledge-migration cleanup archive --restore RUN) and look who changed them.",
        numbers=vars(archive_extent(connection)),
    )


@contextmanager
def _session(database: Database) -> Iterator[Connection]:
    """A session that archives alone, and not beside a rollback that counts proposals."""
    with database.connect("cleanup archive", settings=SESSION) as connection:
        if not exists(connection, TABLE):
            raise PreconditionError(f"{TABLE} does not exist. Run phase 1 (job phase_1_schema) first.")
        with advisory_lock(connection, WORK), advisory_lock(connection, BACKFILL_WORK, shared=True):
            yield connection


@dataclass
class _Walk:
    """The way through the old runs in order of time; it has state (where it is, what is done), so it is a class."""

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
        """What is done until now."""
        moved = self.moved
        return Archived(moved["runs"], moved["topic_proposals"], moved["atom_proposals"], dict(self.kept))

    def next_window(self) -> list[UUID]:
        """The next runs that may go; those that have to stay are counted by reason. Empty at the end."""
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
            may_go = [row["id"] for row in rows if row["kept_because"] is None]
            if may_go:
                return may_go

    def would_move(self, runs: list[UUID]) -> None:
        """Counts what a batch would move; locks nothing."""
        row = self.connection.execute(text_of("cleanup/archive_would_move"), {"runs": runs}).fetchone()
        assert row is not None
        self.moved.update({"runs": len(runs), **row})

    def move(self, runs: list[UUID], limits: SchemaChangeSettings, audited: Mapping[str, Any]) -> None:
        """Moves one batch in a transaction; tried again while a user's transaction holds one of its proposals."""
        cause: Exception | None = None
        for attempt in range(limits.attempts):
            if attempt:
                pause(limits, attempt - 1)
            try:
                self._copy_and_count(runs, audited)
                return
            except RETRIED as error:
                cause = error
        raise BlockedError(
            f"A batch of {len(runs)} runs could not be archived in {limits.attempts} attempts: somebody's transaction holds "
            f"one of their proposals (first run: {runs[0]}). What was moved before stays moved. End that transaction or "
            "wait, then run this again."
        ) from cause

    def _copy_and_count(self, runs: list[UUID], audited: Mapping[str, Any]) -> None:
        with self.connection.transaction():
            timeout = sql.Literal(f"{LOCK_TIMEOUT_MS}ms")
            self.connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(timeout))
            counted = self._move(runs)
            if counted["runs"]:
                audit.record(self.connection, AuditAction.ARCHIVE_EXTRACTIONS, SUBJECT, after=dict(counted), **audited)
        self.moved.update(counted)
        self.kept.update([AT_WORK] * (len(runs) - counted["runs"]))

    def _move(self, runs: list[UUID]) -> Counter[str]:
        """Locks, asks again what may go, copies and removes, in the caller's transaction."""
        held = [
            row["id"] for row in self.connection.execute(text_of("cleanup/archive_lock"), {"runs": runs}).fetchall()
        ]
        copy = statement("cleanup/archive_copy", kept_because=statement("cleanup/kept_because"))
        copied = self.connection.execute(copy, {"runs": held, "referred": self.referred}).fetchall()
        ids = {"runs": [row["id"] for row in copied]}
        counted: Counter[str] = Counter(runs=len(copied))
        for kind in KINDS:
            remove = statement("cleanup/archive_remove_proposals", proposals=f"public.{kind.proposal_table}")
            removed = self.connection.execute(remove, ids).rowcount
            counted[kind.proposal_table] = sum(row[kind.proposal_table] for row in copied)
            _same(kind.proposal_table, counted[kind.proposal_table], removed)
        _same(
            "knowledge_extraction_runs",
            len(copied),
            self.connection.execute(text_of("cleanup/archive_remove_runs"), ids).rowcount,
        )
        return counted


def _same(table: str, copied: int, removed: int) -> None:
    if copied != removed:
        raise VerificationError(
            f"{copied} rows of {table} were copied into the archive, but {removed} would have been removed. Nothing of this "
            "batch was changed; look who writes proposals without locking their run."
        )
