"""A CHECK constraint requires that every topic and atom names the proposal it came from (ERRATA V18).

Added NOT VALID and validated afterwards, each bounded by `run_locked`, so that no reader waits; after a crash a second run
validates. Never added while a row without a proposal exists: its user could not edit it. The transaction that adds it locks
the flags, so that the old paths stay closed. A rollback of the schema drops the constraint with its column.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Unpack

import psycopg

from knowledge_migration.engine.foundation import audit
from knowledge_migration.engine.foundation.check_outcome import count_and_sample
from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.foundation.sql_files import statement, text_of
from knowledge_migration.engine.schema.ddl import run_locked
from knowledge_migration.knowledge.audit import AuditAction
from knowledge_migration.knowledge.entity_kinds import KINDS, EntityKind
from knowledge_migration.knowledge.flags import FLAG_NAME
from knowledge_migration.knowledge.tables import ORIGIN_CONSTRAINTS
from knowledge_migration.settings import SchemaChangeSettings

State = Literal["missing", "not validated", "validated"]

DEFINITION = "CHECK ((migrated_from_proposal_id IS NOT NULL))"
SAMPLE = 20


@dataclass(frozen=True)
class Unlinked:
    """The rows of one table without a proposal: their number and a sample."""

    kind: EntityKind
    count: int
    sample: tuple[dict[str, Any], ...]

    @property
    def sentence(self) -> str:
        """The rows as a sentence."""
        ids = ", ".join(_named(row) for row in self.sample)
        more = f" and {self.count - len(self.sample)} more" if self.count > len(self.sample) else ""
        return f"{self.count} rows of {self.kind.table} have no proposal: {ids}{more}."


def states(connection: Connection) -> dict[str, State]:
    """The state of each table's constraint; raises `PreconditionError` for a foreign constraint of that name."""
    parameters = {"tables": list(ORIGIN_CONSTRAINTS), "names": list(ORIGIN_CONSTRAINTS.values())}
    states: dict[str, State] = {}
    for row in connection.execute(text_of("cleanup/origin_constraints"), parameters).fetchall():
        if row["present"] and row["definition"].removesuffix(" NOT VALID") != DEFINITION:
            name = ORIGIN_CONSTRAINTS[row["table"]]
            raise PreconditionError(
                f"Constraint {name} of {row['table']} is not ours: {row['definition']}. Rename it, then run this again."
            )
        states[row["table"]] = "missing" if not row["present"] else "validated" if row["validated"] else "not validated"
    return states


def unlinked(connection: Connection, kind: EntityKind, *, sample: int = SAMPLE) -> Unlinked:
    """The rows of a table without a proposal. One scan."""
    query = statement("cleanup/rows_without_proposal", table=f"public.{kind.table}", label=kind.label)
    count, rows = count_and_sample(connection, query, {"entity": kind.name}, sample)
    return Unlinked(kind, count, rows)


def require_complete(connection: Connection, entities: Sequence[EntityKind] = KINDS) -> None:
    """Raises `PreconditionError` naming the rows without a proposal and what to do about them."""
    incomplete = [rows for kind in entities if (rows := unlinked(connection, kind)).count]
    if incomplete:
        tables = " and ".join(rows.kind.table for rows in incomplete)
        raise PreconditionError(
            f"{' '.join(rows.sentence for rows in incomplete)} Repair failed shadows (knowledge-migration dual-write repair) "
            "and complete the backfill again (asset backfill_completion). Rows in quarantine, accepted ones too, need "
            "another decision first (knowledge-migration quarantine decide … --decision retry); or leave "
            f"{tables} without this rule by naming it (--without). The database does not refuse such rows yet."
        )


def enforce(
    connection: Connection,
    kind: EntityKind,
    limits: SchemaChangeSettings,
    **attribution: Unpack[audit.Attribution],
) -> State:
    """Adds and validates the constraint of one table where needed; returns its state before.

    Raises `PreconditionError` naming rows without a proposal (the constraint does not exist then) or if the old paths are
    open, `BlockedError` naming the session that holds the table.
    """
    before = states(connection)[kind.table]
    names = {"table": f"public.{kind.table}", "constraint": ORIGIN_CONSTRAINTS[kind.table]}
    what = f"The rule that every row of {kind.table} names its proposal"

    def add() -> None:
        _require_retired(connection)
        connection.execute(statement("cleanup/origin_required", **names))
        audit.record(connection, AuditAction.REQUIRE_PROPOSALS, kind.table, after={"validated": False}, **attribution)

    def validate() -> None:
        connection.execute(statement("cleanup/origin_validated", **names))
        audit.record(connection, AuditAction.REQUIRE_PROPOSALS, kind.table, after={"validated": True}, **attribution)

    if before == "missing":
        require_complete(connection, (kind,))
        run_locked(connection, add, (kind.table,), "access_exclusive", limits, what)
    if before != "validated":
        try:
            run_locked(connection, validate, (kind.table,), "share_update_exclusive", limits, what)
        except psycopg.errors.CheckViolation:
            release(connection, kind, limits, **attribution)
            require_complete(connection, (kind,))
            raise
    return before


def release(
    connection: Connection,
    kind: EntityKind,
    limits: SchemaChangeSettings,
    **attribution: Unpack[audit.Attribution],
) -> bool:
    """Drops the constraint of one table; False if it did not exist."""
    if states(connection)[kind.table] == "missing":
        return False
    names = {"table": f"public.{kind.table}", "constraint": ORIGIN_CONSTRAINTS[kind.table]}

    def drop() -> None:
        connection.execute(statement("cleanup/origin_optional", **names))
        audit.record(connection, AuditAction.NO_LONGER_REQUIRE_PROPOSALS, kind.table, **attribution)

    what = f"Dropping the rule that every row of {kind.table} names its proposal"
    run_locked(connection, drop, (kind.table,), "access_exclusive", limits, what)
    return True


def refuse_while_enforced(connection: Connection, work: str) -> None:
    """Raises `PreconditionError` if the database refuses rows without a proposal, which `work` would create."""
    enforced = [table for table, state in states(connection).items() if state != "missing"]
    if enforced:
        raise PreconditionError(
            f"{work} removes links, and the database refuses rows of {' and '.join(enforced)} without a proposal since "
            "phase 5. Open the old paths first: knowledge-migration cleanup reopen --reason …. Nothing was changed."
        )


def _require_retired(connection: Connection) -> None:
    row = connection.execute(text_of("cleanup/flags_are_retired"), {"flags": FLAG_NAME}).fetchone()
    if row is None or not row["retired"]:
        raise PreconditionError(
            "The old paths were opened again meanwhile, so the application may write rows without a proposal, and the database "
            "must not refuse them. Retire the paths again (knowledge-migration cleanup retire)."
        )


def _named(row: dict[str, Any]) -> str:
    return f"{row['id']} (quarantine: {row['quarantine']})" if row["quarantine"] else str(row["id"])
