"""One backfill batch: its statement, the meaning of its errors, and the check that it changes nothing else of a row.

A batch is one statement in one transaction. An error of a row means that it cannot become a proposal (a constraint, a limit
of the server, a trigger of the user's); a transient error means a lock of a user; errors of server or connection propagate.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Literal
from uuid import UUID

import psycopg
from psycopg import sql

from knowledge_migration.engine.backfill import triggers
from knowledge_migration.engine.backfill.plan import Partition
from knowledge_migration.engine.backfill.triggers import Fired, SideEffectError
from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.foundation.explanation import reason_of
from knowledge_migration.engine.foundation.origin_proposals import insertion, taken_columns
from knowledge_migration.engine.foundation.sql_files import statement, text_of
from knowledge_migration.knowledge.entity_kinds import EntityKind
from knowledge_migration.settings import TriggerChoice

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
BY_TRIGGERS = ("KM001", "KM002")
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

    @property
    def rows(self) -> int:
        """The rows that it has dealt with."""
        return self.linked_rows + self.quarantined_rows


@dataclass(frozen=True)
class BatchContext:
    """The values that all batches of a partition share."""

    partition: Partition
    run_id: UUID
    locked: Locked = "skip"
    dagster_run_id: str | None = None
    fired: tuple[Fired, ...] = ()
    choice: TriggerChoice = "refuse"
    others: tuple[str, ...] = ()
    written: Counter[str] = field(default_factory=Counter)
    """The rows that accepted triggers wrote to other tables."""

    def statement(self, *, refresh: bool) -> bytes:
        """The batch statement; with `refresh`, it updates a proposal that exists already."""
        return batch_statement(self.partition.kind, self.locked, refresh=refresh, compared=self.others)

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
def batch_statement(kind: EntityKind, locked: Locked, *, refresh: bool, compared: tuple[str, ...] = ()) -> bytes:
    """The query backfill/batch for one table; with `refresh`, it updates a proposal that exists already.

    `compared` are the columns that it compares before and after the UPDATE.
    """
    composed = statement(
        "backfill/batch",
        table=f"public.{kind.table}",
        table_name=sql.Literal(kind.table),
        taken=taken_columns(kind),
        pending=statement("backfill/pending"),
        insertion=insertion(kind, statement("backfill/batch_rows"), sql.SQL("%(run)s"), refresh=refresh),
        skip_locked=skipping(locked),
        **comparing(compared, sql.SQL("locked")),
    )
    return composed.as_bytes(None)


def comparing(names: tuple[str, ...], held: sql.SQL) -> dict[str, sql.Composable]:
    """The parts of a batch that compare these columns of `held` rows before and after the UPDATE; without any, nothing."""
    if not names:
        return {"before": sql.SQL(""), "altered": sql.SQL(""), "altered_rows": sql.SQL("count(*) FILTER (WHERE false)")}
    return {
        "before": sql.SQL(", {} AS before").format(_as_text("source", names)),
        "altered": sql.SQL(", {}.before <> {} AS altered").format(held, _as_text("target", names)),
        "altered_rows": sql.SQL("count(*) FILTER (WHERE altered)"),
    }


def other_columns(connection: Connection, kind: EntityKind) -> tuple[str, ...]:
    """The columns of the table that linking a row must not change."""
    rows = connection.execute(text_of("backfill/other_columns"), {"table": f"public.{kind.table}"})
    return tuple(row["name"] for row in rows)


def _as_text(alias: str, names: tuple[str, ...]) -> sql.Composable:
    return sql.SQL("ROW({})::text").format(sql.SQL(", ").join(sql.Identifier(alias, name) for name in names))


def skipping(locked: Locked) -> sql.Composable:
    """SKIP LOCKED, or nothing."""
    return sql.SQL("SKIP LOCKED") if locked == "skip" else sql.SQL("")


def pending_query(name: str, partition: Partition, **names: str | sql.Composable) -> sql.Composed:
    """A query over the rows of the partition that have no proposal yet and are not in quarantine."""
    table = f"public.{partition.kind.table}"
    return statement(f"backfill/{name}", table=table, pending=statement("backfill/pending"), **names)


def run_batch(connection: Connection, context: BatchContext, after_id: int, batch_size: int) -> tuple[int, int | None]:
    """Links the next rows above `after_id`; returns their number and the last id. Raises psycopg errors.

    The connection is in autocommit, so the single statement is the transaction: no round trips for BEGIN and COMMIT, unless
    triggers of the user fire.
    """
    parameters = context.parameters(after_id, batch_size)
    try:
        return _linked(connection, context, parameters, refresh=False)
    except psycopg.errors.UniqueViolation:
        return _linked(connection, context, parameters, refresh=True)


def _linked(
    connection: Connection, context: BatchContext, parameters: dict[str, object], *, refresh: bool
) -> tuple[int, int | None]:
    """Executes the batch statement; raises `SideEffectError` where triggers write more than the operator chose."""
    query = context.statement(refresh=refresh)
    if not context.fired:
        row = connection.execute(query, parameters).fetchone()
        return (row["linked_rows"], row["through_id"]) if row else (0, None)
    with triggers.watched(connection) as written:
        row = connection.execute(query, parameters).fetchone()
        linked = row["linked_rows"] if row else 0
        kind = context.partition.kind
        own = {f"public.{kind.table}": linked, f"public.{kind.proposal_table}": linked}
        effects = written(own)
        if refused := triggers.not_accepted(effects, context.choice):
            raise SideEffectError(_sentence(refused, context.fired))
    context.written.update(effects)
    return (linked, row["through_id"]) if row else (0, None)


def _sentence(effects: dict[str, int], fired: tuple[Fired, ...]) -> str:
    where = ", ".join(f"{rows:,} rows of {table}" for table, rows in effects.items())
    return f"the UPDATE that links it also writes {where}, through triggers ({triggers.listed(fired)})"


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
                linked, _ = _linked(connection, context, only_this, refresh=True)
        except (psycopg.Error, SideEffectError) as error:
            if not belongs_to_row(error):
                raise
            reason = reason_of(error) if isinstance(error, psycopg.Error) else str(error)
            if error.sqlstate in BY_TRIGGERS:
                reason = f"{reason}, by triggers ({triggers.listed(context.fired)})"
            cause = {"sqlstate": error.sqlstate or "unknown", "reason": reason}
            rejected = {"entity": context.partition.entity, "row_id": row["id"], **cause}
            connection.execute(text_of("backfill/quarantine_row"), rejected)
            return BatchResult(0, 1, row["id"], 0.0)
    return BatchResult(linked, 0, row["id"], 0.0)


def belongs_to_row(error: psycopg.Error | SideEffectError) -> bool:
    """Whether the error is one of the data: of a row that cannot become a proposal, and not of the server or our statement."""
    state = error.sqlstate or ""
    if isinstance(error, (*DATA_ERRORS, SideEffectError)):
        return True
    if not state or state[:2] in RUN_CLASSES:
        return False
    if state[:2] in OUR_CLASSES or isinstance(error, psycopg.errors.ForeignKeyViolation):
        return "function" in (error.diag.context or "")
    return True


def with_triggers(connection: Connection, context: BatchContext, choice: TriggerChoice) -> BatchContext:
    """The context with the triggers and rules that fire in this session.

    Raises `PreconditionError` when linking the next row writes more than the operator chose; one row is linked in a transaction
    that is rolled back. If that row cannot be written, the batch reports the reason.
    """
    fired = triggers.fired(connection, context.partition.kind)
    if not fired:
        return context
    table = f"public.{context.partition.kind.table}"
    names = other_columns(connection, context.partition.kind)
    try:
        changed, effects = _tried(connection, table, names, context.partition)
    except psycopg.Error as error:
        if not (belongs_to_row(error) or isinstance(error, TRANSIENT_ERRORS)):
            raise
        changed, effects = [], {}
    if refused := triggers.not_accepted(effects, choice):
        where = ", ".join(refused)
        raise PreconditionError(
            f"Linking a row of {table} would also write to {where} through a trigger ({triggers.listed(fired)}). "
            f"{triggers.remedy(fired)} Nothing was changed."
        )
    if changed:
        raise PreconditionError(
            f"Linking a row of {table} would change its {', '.join(changed)} through a trigger ({triggers.listed(fired)}); the "
            f"migration must not change them. {triggers.remedy(fired)} Nothing was changed."
        )
    return replace(context, fired=fired, choice=choice, others=names)


def _tried(
    connection: Connection, table: str, names: tuple[str, ...], partition: Partition
) -> tuple[list[str], dict[str, int]]:
    """The other columns that linking the next row changes, and the rows that it writes elsewhere; rolled back."""
    values = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier("source", name)) for name in names)
    with triggers.watched(connection, force_rollback=True) as written:
        query = pending_query("touch_one_row", partition, values=values)
        row = connection.execute(query, partition.parameters).fetchone()
        effects = written({table: 1})
    if row is None:
        return [], {}
    pairs = zip(names, row["before"], row["after"], strict=True)
    return [name for name, old, new in pairs if old != new], effects
