"""The way back from phase 3: unlinks and deletes what the backfill made, in batches, and nothing else (strategy §5.3).

Proposals of other runs, dual-written ones among them, are not touched; legacy rows lose only their two new values. Rows
that a user holds are skipped, and waited for at the end, one by one, so that nobody waits behind a batch that waits.
Killed anywhere, a second run goes on. The strategy's bound: 10k rows in under 10 minutes.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

from knowledge_migration.engine.backfill.batch import TRANSIENT_ERRORS, Locked, reason_of, skipping
from knowledge_migration.engine.backfill.control import Limits
from knowledge_migration.engine.backfill.run import run_id, run_status
from knowledge_migration.engine.backfill.runner import WORK, translate_db_errors
from knowledge_migration.engine.cleanup.completeness import refuse_while_enforced
from knowledge_migration.engine.foundation import audit
from knowledge_migration.engine.foundation.advisory_lock import advisory_lock
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import BlockedError, VerificationError
from knowledge_migration.engine.foundation.sql_files import statement, text_of
from knowledge_migration.knowledge.audit import AuditAction
from knowledge_migration.knowledge.entity_kinds import KINDS, EntityKind

OnRows = Callable[[str, int], None]
T = TypeVar("T")


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
        return {kind.proposal_table: 0 for kind in KINDS}
    run = run_id(connection)
    return {kind.proposal_table: _remaining(connection, kind, run) for kind in KINDS}


def rollback_backfill(
    database: Database,
    *,
    reason: str,
    batch_size: int = 1_000,
    limits: Limits | None = None,
    actor: str | None = None,
    dagster_run_id: str | None = None,
    on_rows: OnRows | None = None,
) -> BackfillRollback:
    """Removes the backfill; does nothing when there is none. Audited when it begins and when it is done.

    Of `limits` only the timeouts, the attempts and the sleep matter. Raises `BusyError` while a backfill runs,
    `BlockedError` when a user never lets go of a row, `VerificationError` if proposals of the run remain.
    """
    limits = limits or Limits()
    started = time.perf_counter()
    with (
        translate_db_errors(database, "the rollback of the backfill", again="the rollback"),
        database.connect("backfill rollback", settings=_session(limits)) as connection,
        advisory_lock(connection, WORK),
    ):
        if run_status(connection) is None:
            return BackfillRollback({}, {}, 0.0)
        refuse_while_enforced(connection, "The rollback of the backfill")
        extent = backfill_extent(connection)
        audited: dict[str, Any] = {"reason": reason, "actor": actor, "dagster_run_id": dagster_run_id, "before": extent}
        audit.record(connection, AuditAction.ROLLBACK_BACKFILL_BEGUN, "phase 3", **audited)
        _analyze(connection)
        walks = [_Walk(connection, kind, run_id(connection), batch_size, limits, on_rows) for kind in KINDS]
        for walk in walks:
            walk.whole()
        _finish(connection, run_id(connection), audited)
    unlinked = {walk.kind.table: walk.unlinked for walk in walks}
    deleted = {walk.kind.proposal_table: walk.deleted for walk in walks}
    return BackfillRollback(unlinked, deleted, time.perf_counter() - started)


def _analyze(connection: Connection) -> None:
    """A backfill that was broken off left the statistics of empty tables, and each batch would cost more than the last.

    188,000 rows took 26 s without and 7 s with it. Does without where a lock is in the way: it only makes it slower.
    """
    with suppress(*TRANSIENT_ERRORS):
        connection.execute(text_of("backfill/analyze"))


def _session(limits: Limits) -> dict[str, str]:
    return {
        "enable_seqscan": "off",
        "lock_timeout": str(limits.lock_timeout_ms),
        "statement_timeout": str(limits.statement_timeout_ms),
    }


@dataclass
class _Walk:
    """The way back over one table; it has state (the size of a batch, what is done), so it is a class."""

    connection: Connection
    kind: EntityKind
    run: UUID
    size: int
    limits: Limits
    on_rows: OnRows | None
    unlinked: int = 0
    deleted: int = 0
    names: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.names = {"table": f"public.{self.kind.table}", "proposals": f"public.{self.kind.proposal_table}"}

    def whole(self) -> None:
        """Passes over the table until no row names a proposal of the run, then the proposals that lost their row."""
        first = self._first("backfill/id_bounds", table=self.names["table"])
        after = None if first is None else first - 1
        while after is not None:
            self._pass(after)
            first = self._first("rollback/backfill_first_linked", **self.names)
            after = None if first is None else self._batch(first - 1, 1, "wait")
        while self._leftovers():
            pass

    def _first(self, query: str, **names: str) -> int | None:
        row = self.connection.execute(statement(query, **names), {"run": self.run}).fetchone()
        return row["first_id"] if row else None

    def _pass(self, after: int | None) -> None:
        while after is not None:
            after = self._batch(after, self.size, "skip")

    def _batch(self, after: int, size: int, locked: Locked) -> int | None:
        """Takes back one batch above `after`; returns where the next begins, None at the end."""
        query = statement("rollback/backfill_batch", **self.names, skip_locked=skipping(locked))

        def take_back() -> dict[str, Any] | None:
            parameters = {"after": after, "batch_size": min(size, self.size), "run": self.run}
            return self.connection.execute(query, parameters).fetchone()

        row = self._patiently(take_back)
        assert row is not None
        self.unlinked += row["unlinked_rows"]
        self.deleted += row["deleted_rows"]
        if self.on_rows and row["through_id"] is not None:
            self.on_rows(self.kind.table, row["unlinked_rows"])
        through: int | None = row["through_id"]
        return through

    def _leftovers(self) -> int:
        def delete() -> int:
            query = statement("rollback/backfill_leftovers", **self.names)
            return self.connection.execute(query, {"run": self.run, "batch_size": self.size}).rowcount

        deleted = self._patiently(delete)
        self.deleted += deleted
        return deleted

    def _patiently(self, work: Callable[[], T]) -> T:
        """Tries again, with smaller batches and growing pauses, while a lock or a timeout is in the way."""
        for attempt in range(self.limits.retry_attempts):
            try:
                return work()
            except TRANSIENT_ERRORS as error:
                cause = error
            self.size = max(1, self.size // 2)
            if attempt + 1 < self.limits.retry_attempts:
                self.limits.sleep(min(0.1 * 2**attempt, 5.0))
        raise BlockedError(
            f"The rollback of {self.kind.table} was stopped {self.limits.retry_attempts} times, last by "
            f"{cause.sqlstate} {reason_of(cause)}. A user's transaction holds rows of it: end that transaction or wait, "
            "then run the rollback again; what is taken back stays so."
        ) from cause


def _remaining(connection: Connection, kind: EntityKind, run: UUID) -> int:
    counted = connection.execute(
        statement("rollback/backfill_remaining", proposals=f"public.{kind.proposal_table}"), {"run": run}
    ).fetchone()
    assert counted is not None
    return int(counted["rows"])


def _finish(connection: Connection, run: UUID, audited: dict[str, Any]) -> None:
    """Removes the run and its ledger, with the audit entry, once nothing refers to it."""
    left = {kind.proposal_table: count for kind in KINDS if (count := _remaining(connection, kind, run))}
    if left:
        raise VerificationError(
            f"Proposals of the backfill remain after its rollback: {left}. Run the rollback again; if they stay, "
            "look at who writes to them (pg_stat_activity)."
        )
    with connection.transaction():
        connection.execute(text_of("rollback/backfill_records"), {"run": run})
        audit.record(connection, AuditAction.ROLLBACK_BACKFILL, "phase 3", **audited)
