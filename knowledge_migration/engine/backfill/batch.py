"""One backfill batch: its statement, the meaning of its errors, and the check that it changes nothing else of a row.

A batch is one statement in one transaction. An error of a row means that it cannot become a proposal (a constraint, a limit
of the server, a trigger of the user's); a transient error means a lock of a user; errors of server or connection propagate.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal
from uuid import UUID

import psycopg
from psycopg import sql

from knowledge_migration.engine.backfill.plan import Partition
from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.foundation.explanation import reason_of
from knowledge_migration.engine.foundation.sql_files import statement, text_of
from knowledge_migration.knowledge.entity_kinds import EntityKind

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
SUPPRESSED = "KM001"
"""What `migration.require_linked` raises."""

RUN_CLASSES = ("08", "25", "28", "3D", "40", "53", "55", "57", "58")
"""SQLSTATE classes of the connection, the session, resources, locks, and the operator."""

OUR_CLASSES = ("0A", "3F", "42", "XX")
"""Classes of errors in our own statements; inside a function they are the user's, whose trigger raises them."""

TRANSIENT_ERRORS = (
    psycopg.errors.SerializationFailure,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.LockNotAvailable,
    psycopg.errors.QueryCanceled,
)


@dataclass(frozen=True)
class BatchResult:
    """The result of one batch: `through_id` is the last id that it linked, None when there was no row."""

    linked_rows: int
    quarantined_rows: int
    through_id: int | None
    seconds: float


@dataclass(frozen=True)
class BatchContext:
    """The values that all batches of a partition share."""

    partition: Partition
    run_id: UUID
    locked: Locked = "skip"
    dagster_run_id: str | None = None

    def statement(self, *, refresh: bool) -> bytes:
        """The batch statement; with `refresh`, it updates a proposal that exists already."""
        return batch_statement(self.partition.kind, self.locked, refresh=refresh)

    def parameters(self, after_id: int, batch_size: int) -> dict[str, object]:
        """The named parameters of the batch statement."""
        return {
            **self.partition.parameters,
            "partition": self.partition.key,
            "run": self.run_id,
            "after": after_id,
            "batch_size": batch_size,
            "dagster_run_id": self.dagster_run_id,
        }


@cache
def batch_statement(kind: EntityKind, locked: Locked, *, refresh: bool) -> bytes:
    """The query backfill/batch for one table; with `refresh`, it updates a proposal that exists already."""
    columns = proposal_columns(kind)
    composed = statement(
        "backfill/batch",
        table=f"public.{kind.table}",
        proposals=f"public.{kind.proposal_table}",
        table_name=sql.Literal(kind.table),
        taken=taken_columns(kind),
        columns=sql.SQL(", ").join(sql.Identifier(name) for name, _ in columns),
        values=sql.SQL(", ").join(value for _, value in columns),
        pending=statement("backfill/pending"),
        on_conflict=_refreshing(columns) if refresh else sql.SQL(""),
        skip_locked=skipping(locked),
    )
    return composed.as_bytes(None)


def taken_columns(kind: EntityKind) -> sql.Composable:
    """The columns of a row that a batch reads, by name: the table may have others."""
    return sql.SQL(", ").join(sql.Identifier("source", name) for name in ("id", *kind.values))


def proposal_columns(kind: EntityKind) -> list[tuple[str, sql.Composable]]:
    """The proposal's columns that come from the row `source`, each with the expression of its value."""
    copied = [(name, _copied(name, kind.casts.get(name))) for name in kind.copied]
    if not kind.has_confidence:
        return [*copied, ("confidence", sql.SQL("NULL::double precision"))]
    return [
        *copied,
        ("confidence", statement("backfill/stated_confidence")),
        ("proposed_topic_ids", statement("backfill/proposed_topic_ids")),
    ]


def _copied(name: str, cast: str | None) -> sql.Composable:
    column = sql.Identifier("source", name)
    return sql.SQL("{}::{}").format(column, sql.Identifier(cast)) if cast else column


def _refreshing(columns: list[tuple[str, sql.Composable]]) -> sql.Composable:
    names = [*(name for name, _ in columns), "review_notes"]
    refreshed = sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in names)
    return sql.SQL("ON CONFLICT (id) DO UPDATE SET {}").format(refreshed)


def skipping(locked: Locked) -> sql.Composable:
    """SKIP LOCKED, or nothing."""
    return sql.SQL("SKIP LOCKED") if locked == "skip" else sql.SQL("")


def pending_query(name: str, partition: Partition, **names: str | sql.Composable) -> sql.Composed:
    """A query over the rows of the partition that have no proposal yet and are not in quarantine."""
    table = f"public.{partition.kind.table}"
    return statement(f"backfill/{name}", table=table, pending=statement("backfill/pending"), **names)


def run_batch(connection: Connection, context: BatchContext, after_id: int, batch_size: int) -> tuple[int, int | None]:
    """Links the next rows above `after_id`; returns their number and the last id. Raises psycopg errors.

    The connection is in autocommit, so the single statement is the transaction: no round trips for BEGIN and COMMIT.
    """
    parameters = context.parameters(after_id, batch_size)
    try:
        row = connection.execute(context.statement(refresh=False), parameters).fetchone()
    except psycopg.errors.UniqueViolation:
        row = connection.execute(context.statement(refresh=True), parameters).fetchone()
    return (row["linked_rows"], row["through_id"]) if row else (0, None)


def run_single_row(connection: Connection, context: BatchContext, after_id: int) -> BatchResult:
    """Links exactly the next row, or quarantines it with the reason when it cannot become a proposal."""
    parameters = context.parameters(after_id, 1)
    query = pending_query("next_row", context.partition, skip_locked=skipping(context.locked))
    with connection.transaction():
        row = connection.execute(query, parameters).fetchone()
        if row is None:
            return BatchResult(0, 0, None, 0.0)
        only_this = {**parameters, "after": row["id"] - 1, "through": row["id"]}
        try:
            with connection.transaction():
                linked = connection.execute(context.statement(refresh=True), only_this)
        except psycopg.Error as error:
            if not belongs_to_row(error):
                raise
            reason = reason_of(error)
            if error.sqlstate == SUPPRESSED:
                reason = f"{reason}, by {_triggers(connection, context.partition)}"
            cause = {"sqlstate": error.sqlstate or "unknown", "reason": reason}
            rejected = {"entity": context.partition.entity, "row_id": row["id"], **cause}
            connection.execute(text_of("backfill/quarantine_row"), rejected)
            return BatchResult(0, 1, row["id"], 0.0)
    return BatchResult(linked.rowcount, 0, row["id"], 0.0)


def belongs_to_row(error: psycopg.Error) -> bool:
    """Whether the error is one of the data: of a row that cannot become a proposal, and not of the server or our statement."""
    state = error.sqlstate or ""
    if isinstance(error, DATA_ERRORS):
        return True
    if not state or state[:2] in RUN_CLASSES:
        return False
    if state[:2] in OUR_CLASSES or isinstance(error, psycopg.errors.ForeignKeyViolation):
        return "function" in (error.diag.context or "")
    return True


def _triggers(connection: Connection, partition: Partition) -> str:
    """The triggers that an UPDATE of the table fires, by name."""
    found = connection.execute(
        text_of("backfill/update_triggers"), {"table": f"public.{partition.kind.table}"}
    ).fetchall()
    names = ", ".join(row["name"] for row in found)
    return f"a trigger ({names})" if names else "a rule"


def refuse_side_effects(connection: Connection, partition: Partition) -> None:
    """Raises `PreconditionError` when linking the next row changes other columns, as a trigger on updated_at would.

    Links one row in a transaction that is rolled back. If that row cannot be written, the batch reports the reason.
    """
    table = f"public.{partition.kind.table}"
    try:
        changed = _changed_columns(connection, table, partition)
    except psycopg.Error as error:
        if belongs_to_row(error) or isinstance(error, TRANSIENT_ERRORS):
            return
        raise
    if changed:
        triggers = connection.execute(text_of("backfill/update_triggers"), {"table": table}).fetchall()
        raise PreconditionError(
            f"Linking a row of {table} would change its {', '.join(changed)} through a trigger "
            f"({', '.join(row['name'] for row in triggers) or 'of unknown name'}); the migration must not change them. "
            "Restrict the trigger to other columns (BEFORE UPDATE OF ...), or disable it during the backfill or its "
            "rollback; then run this again. Nothing was changed."
        )


def _changed_columns(connection: Connection, table: str, partition: Partition) -> list[str]:
    names = [row["name"] for row in connection.execute(text_of("backfill/other_columns"), {"table": table})]
    values = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier("source", name)) for name in names)
    with connection.transaction(force_rollback=True):
        query = pending_query("touch_one_row", partition, values=values)
        row = connection.execute(query, partition.parameters).fetchone()
    if row is None:
        return []
    return [name for name, old, new in zip(names, row["before"], row["after"], strict=True) if old != new]
