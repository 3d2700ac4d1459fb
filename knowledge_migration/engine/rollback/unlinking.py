"""Unlinks and deletes proposals in batches, online: written once for the rollbacks of dual write and of the backfill.

Rows that a user holds are skipped first and waited for at the end, one by one, so that nobody waits behind a batch that waits.
A batch that meets a lock or a timeout is repeated, bounded, with half the rows. Each is one transaction; a second run continues.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import psycopg
from psycopg import sql

from knowledge_migration.engine.backfill import triggers
from knowledge_migration.engine.backfill.batch import TRANSIENT_ERRORS, Locked, comparing, other_columns, skipping
from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.errors import BlockedError, PreconditionError
from knowledge_migration.engine.foundation.explanation import reason_of
from knowledge_migration.engine.foundation.sql_files import statement
from knowledge_migration.knowledge.entity_kinds import KINDS, EntityKind
from knowledge_migration.settings import BackfillSettings

LONGEST_PAUSE_SECONDS = 5.0
PROPOSALS = frozenset(f"public.{kind.proposal_table}" for kind in KINDS)

OnRows = Callable[[str, int], None]
T = TypeVar("T")


@dataclass(frozen=True)
class ProposalRollback:
    """Links cleared and proposals deleted, per table, and the seconds; `kept_pending` counts proposals left for review."""

    unlinked_rows: dict[str, int]
    deleted_proposals: dict[str, int]
    seconds: float
    kept_pending: dict[str, int]

    @property
    def rows_per_second(self) -> float:
        """Proposals deleted per second."""
        return sum(self.deleted_proposals.values()) / self.seconds if self.seconds else 0.0


@dataclass
class Unlinking:
    """The batches over one kind; it has state: the size of a batch and the counts. `parameters` are those of each query."""

    connection: Connection
    kind: EntityKind
    parameters: Mapping[str, Any]
    size: int
    limits: BackfillSettings
    on_rows: OnRows | None = None
    unlinked: int = 0
    deleted: int = 0
    fired: tuple[triggers.Fired, ...] = field(init=False)
    others: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.fired = triggers.fired(self.connection, self.kind)
        self.others = other_columns(self.connection, self.kind) if self.fired else ()

    def row(self, query: str, *, size: int = 1, **values: Any) -> dict[str, Any]:
        """The one row of a query over this kind, with at most `size` rows in its batch."""
        identifiers = {
            "table": f"public.{self.kind.table}",
            "proposals": f"public.{self.kind.proposal_table}",
            "is_shadow": statement("rollback/is_shadow"),
            "skip_locked": values.pop("skip_locked", sql.SQL("")),
            **comparing(self.others, sql.SQL("held")),
        }
        composed = statement(query, **identifiers)

        def execute() -> dict[str, Any]:
            parameters = {**self.parameters, **values, "batch_size": min(size, self.size)}
            with self._without_side_effects() as check:
                row = self.connection.execute(composed, parameters).fetchone()
                assert row is not None  # aggregates
                check(row)
            return row

        return retried(self.limits, execute, self._blocked, self._halve)

    def batch(self, query: str, after: Any, size: int, locked: Locked) -> Any | None:
        """One batch above `after`; returns where the next begins, None at the end."""
        row = self.row(query, size=size, after=after, skip_locked=skipping(locked))
        self.unlinked += row["unlinked_rows"]
        self.deleted += row["deleted_rows"]
        if self.on_rows and row["through_id"] is not None:
            self.on_rows(self.kind.table, row["deleted_rows"])
        return row["through_id"]

    def pass_over(self, query: str, after: Any | None, size: int, locked: Locked) -> None:
        """Batches from `after` to the end."""
        while after is not None:
            after = self.batch(query, after, size, locked)

    @contextmanager
    def _without_side_effects(self) -> Iterator[Callable[[dict[str, Any]], None]]:
        """A transaction for a statement, which ends it where a trigger of the user writes more than the operator chose."""
        if not self.fired:
            yield lambda row: None
            return
        with triggers.watched(self.connection) as written:

            def check(row: dict[str, Any]) -> None:
                own = {f"public.{self.kind.table}": row.get("unlinked_rows", 0)}
                effects = {table: rows for table, rows in written(own).items() if table not in PROPOSALS}
                refused = triggers.not_accepted(effects, self.limits.triggers)
                if refused or row.get("altered_rows"):
                    what = f"write to {', '.join(refused)}" if refused else "change its other columns"
                    raise PreconditionError(
                        f"Unlinking a row of public.{self.kind.table} would also {what} through a trigger "
                        f"({triggers.listed(self.fired)}). {triggers.remedy(self.fired)} Rows that are rolled back stay so."
                    )

            yield check

    def _halve(self) -> None:
        self.size = max(1, self.size // 2)

    def _blocked(self, cause: psycopg.Error) -> str:
        return (
            f"The rollback of {self.kind.table} was stopped {self.limits.retry_attempts} times, last by {cause.sqlstate} "
            f"{reason_of(cause)}. A user's transaction holds rows of it: end that transaction or wait, then run the rollback "
            "again; rows that are rolled back stay so."
        )


def session_settings(limits: BackfillSettings) -> dict[str, str]:
    """A session that works beside users: it waits for no lock for long, but may read a large table whole.

    A statement that counts proposals, or passes over rows that are rolled back already, takes minutes on 100 million rows; it
    holds no lock on them.
    """
    return {"lock_timeout": str(limits.lock_timeout_ms), "statement_timeout": "0"}


def retried(
    limits: BackfillSettings,
    work: Callable[[], T],
    blocked: Callable[[psycopg.Error], str],
    on_retry: Callable[[], None] = lambda: None,
) -> T:
    """Repeats `work` with growing pauses while a lock or a timeout stops it; then raises `BlockedError` with `blocked`."""
    for attempt in range(limits.retry_attempts):
        try:
            return work()
        except TRANSIENT_ERRORS as error:
            cause = error
        on_retry()
        if attempt + 1 < limits.retry_attempts:
            limits.sleep(min(0.1 * 2**attempt, LONGEST_PAUSE_SECONDS))
    raise BlockedError(blocked(cause)) from cause
