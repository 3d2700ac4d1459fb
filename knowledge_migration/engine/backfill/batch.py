"""One backfill batch: the statement, and what its errors mean.

A batch is one statement in one transaction. A data error means that some row in it cannot become a proposal, be it for a
constraint, a limit of the server or a trigger of the user's; a lock error that a user is in the way; anything else is
passed on.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal
from uuid import UUID

import psycopg
from psycopg import sql

from knowledge_migration.engine.backfill.plan import Partition
from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.sql_files import statement, text_of
from knowledge_migration.knowledge.entity_kinds import KIND_BY_NAME, EntityKind

Locked = Literal["skip", "wait"]

DATA_ERRORS = (
    psycopg.DataError,
    psycopg.errors.NotNullViolation,
    psycopg.errors.CheckViolation,
    psycopg.errors.UniqueViolation,
    psycopg.errors.ExclusionViolation,
    psycopg.errors.ProgramLimitExceeded,
    psycopg.errors.StatementTooComplex,
    psycopg.errors.DataCorrupted,
    psycopg.errors.RaiseException,
)
TRANSIENT_ERRORS = (
    psycopg.errors.SerializationFailure,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.LockNotAvailable,
    psycopg.errors.QueryCanceled,
)


@dataclass(frozen=True)
class BatchResult:
    """What one batch did: `through_id` is the last id it linked, None when it found nothing."""

    linked_rows: int
    quarantined_rows: int
    through_id: int | None
    seconds: float


@dataclass(frozen=True)
class BatchContext:
    """What stays the same from batch to batch."""

    partition: Partition
    run_id: UUID
    locked: Locked = "skip"
    dagster_run_id: str | None = None

    @property
    def kind(self) -> EntityKind:
        """The description of the table."""
        return KIND_BY_NAME[self.partition.entity]

    def parameters(self, after_id: int, batch_size: int) -> dict[str, object]:
        """The named parameters of the batch statement."""
        return {
            "entity": self.partition.entity,
            "partition": self.partition.key,
            "run": self.run_id,
            "after": after_id,
            "through": self.partition.through_id,
            "batch_size": batch_size,
            "dagster_run_id": self.dagster_run_id,
        }


@cache
def batch_statement(kind: EntityKind, locked: Locked, *, refresh: bool) -> bytes:
    """`backfill/batch.sql` for one table; with `refresh` a proposal that is there already is brought up to date."""
    columns = proposal_columns(kind)
    composed = statement(
        "backfill/batch",
        table=f"public.{kind.table}",
        proposals=f"public.{kind.proposal_table}",
        table_name=sql.Literal(kind.table),
        taken=taken_columns(kind),
        columns=sql.SQL(", ").join(sql.Identifier(name) for name, _ in columns),
        values=sql.SQL(", ").join(value for _, value in columns),
        pending=pending_rows(),
        on_conflict=_refreshing(columns) if refresh else sql.SQL(""),
        skip_locked=skipping(locked),
    )
    return composed.as_bytes(None)


def taken_columns(kind: EntityKind) -> sql.Composable:
    """The columns of a row that a batch reads, one by one: the table may have others, of any name."""
    names = ("id", *kind.values)
    return sql.SQL(", ").join(sql.Identifier("source", name) for name in names)


def _refreshing(columns: list[tuple[str, sql.Composable]]) -> sql.Composable:
    names = [*(name for name, _ in columns), "review_notes"]
    refreshed = sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in names)
    return sql.SQL("ON CONFLICT (id) DO UPDATE SET {}").format(refreshed)


def pending_rows() -> sql.Composed:
    """The condition that says which rows of a range wait for their proposal."""
    return statement("backfill/pending")


def proposal_columns(kind: EntityKind) -> list[tuple[str, sql.Composable]]:
    """The proposal's columns that come from the row `source`, each with the expression of its value."""
    casts = kind.casts
    copied: list[tuple[str, sql.Composable]] = [
        (name, sql.SQL("source.{}{}").format(sql.Identifier(name), _cast(casts.get(name)))) for name in kind.copied
    ]
    if not kind.has_confidence:
        return [*copied, ("confidence", sql.SQL("NULL::double precision"))]
    return [
        *copied,
        ("confidence", statement("backfill/stated_confidence")),
        ("proposed_topic_ids", statement("backfill/proposed_topic_ids")),
    ]


def _cast(name: str | None) -> sql.Composable:
    return sql.SQL("::{}").format(sql.Identifier(name)) if name else sql.SQL("")


def skipping(locked: Locked) -> sql.Composable:
    """The clause that passes over rows that others hold, or nothing."""
    return sql.SQL("SKIP LOCKED") if locked == "skip" else sql.SQL("")


def run_batch(connection: Connection, context: BatchContext, after_id: int, batch_size: int) -> tuple[int, int | None]:
    """Links the next rows above `after_id`; returns how many and the last id. Raises what psycopg raises.

    The connection is in autocommit, so the one statement is the transaction: two round trips less than BEGIN and COMMIT.
    """
    parameters = context.parameters(after_id, batch_size)
    try:
        row = connection.execute(batch_statement(context.kind, context.locked, refresh=False), parameters).fetchone()
    except psycopg.errors.UniqueViolation:
        row = connection.execute(batch_statement(context.kind, context.locked, refresh=True), parameters).fetchone()
    return (row["linked_rows"], row["through_id"]) if row else (0, None)


def run_single_row(connection: Connection, context: BatchContext, after_id: int) -> BatchResult:
    """Links exactly the next row, or quarantines it with the reason when it cannot become a proposal."""
    parameters = context.parameters(after_id, 1)
    find = statement(
        "backfill/next_row",
        table=f"public.{context.kind.table}",
        pending=pending_rows(),
        skip_locked=skipping(context.locked),
    )
    with connection.transaction():
        row = connection.execute(find, parameters).fetchone()
        if row is None:
            return BatchResult(0, 0, None, 0.0)
        only_this = {**parameters, "after": row["id"] - 1, "through": row["id"]}
        try:
            with connection.transaction():
                linked = connection.execute(batch_statement(context.kind, context.locked, refresh=True), only_this)
        except DATA_ERRORS as error:
            _quarantine(connection, context, row["id"], error)
            return BatchResult(0, 1, row["id"], 0.0)
    return BatchResult(linked.rowcount, 0, row["id"], 0.0)


def reason_of(error: psycopg.Error) -> str:
    """The server's words without its details: they may hold the values of a row."""
    return (error.diag.message_primary or str(error)).strip()


def _quarantine(connection: Connection, context: BatchContext, row_id: int, error: psycopg.Error) -> None:
    connection.execute(
        text_of("backfill/quarantine_row"),
        {
            "entity": context.partition.entity,
            "row_id": row_id,
            "sqlstate": error.sqlstate or "unknown",
            "reason": reason_of(error),
        },
    )
