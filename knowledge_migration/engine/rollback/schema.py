"""The rollback of phase 1 to the recorded revision; it deletes proposals that exist nowhere else only after an export.

A trigger freezes the proposal tables first, so that the export is complete; the freeze ends with this process. A proposal exists
nowhere else unless it is the backfilled image of a row. Legacy tables lose only the link columns. A second run completes it.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import LiteralString, TextIO

from psycopg import sql
from psycopg.types.json import set_json_loads

from knowledge_migration.engine.dual_write.switch import require_proposals_off
from knowledge_migration.engine.foundation import audit
from knowledge_migration.engine.foundation.advisory_lock import BACKFILL, advisory_lock
from knowledge_migration.engine.foundation.atomic_file import written_whole
from knowledge_migration.engine.foundation.database import Connection, Database, exists
from knowledge_migration.engine.foundation.errors import BlockedError, MigrationError, PreconditionError
from knowledge_migration.engine.foundation.own_objects import current_revision, made_objects
from knowledge_migration.engine.foundation.sql_files import statement, text_of
from knowledge_migration.engine.schema.ddl import object_state, run_locked
from knowledge_migration.engine.schema.steps import STEPS
from knowledge_migration.engine.schema.upgrade import (
    OnStep,
    SchemaChange,
    downgrade,
)
from knowledge_migration.knowledge.audit import AuditAction, phase
from knowledge_migration.knowledge.tables import LINK_COLUMN
from knowledge_migration.settings import SchemaChangeSettings

PROPOSAL_TABLES = ("topic_proposals", "atom_proposals")
ARCHIVE = "knowledge_extraction_archive"
TABLES = ("knowledge_extraction_runs", *PROPOSAL_TABLES, "feature_flags", ARCHIVE)
# A DELETE of a row that a proposal resembles clears the reference, which is an UPDATE, but not of the status.
FROZEN: dict[str, LiteralString] = {
    "knowledge_extraction_runs": "INSERT",
    "topic_proposals": "INSERT OR UPDATE OF status",
    "atom_proposals": "INSERT OR UPDATE OF status",
}


@dataclass(frozen=True)
class SchemaRollback:
    """The schema change, and the rows exported before it."""

    change: SchemaChange
    exported_rows: int
    export_file: Path | None


def proposals_without_copy(connection: Connection) -> dict[str, int]:
    """The number of proposals that exist nowhere else, per table; empty without the tables."""
    counts = {}
    for table in _present(connection, PROPOSAL_TABLES):
        row = connection.execute(statement("rollback/proposals_without_copy", table=f"public.{table}")).fetchone()
        counts[table] = int(row["rows"]) if row else 0
    for table in _present(connection, (ARCHIVE,)):
        row = connection.execute(statement("rollback/archived_rows", table=f"public.{table}")).fetchone()
        counts[table] = int(row["rows"]) if row else 0
    return {table: count for table, count in counts.items() if count}


def rollback_schema(
    database: Database,
    limits: SchemaChangeSettings,
    *,
    reason: str,
    export_to: Path | None = None,
    actor: str | None = None,
    dagster_run_id: str | None = None,
    on_step: OnStep | None = None,
) -> SchemaRollback:
    """Rolls the schema back to our own evidence store; does nothing where phase 1 was never begun.

    Raises `PreconditionError` while proposals are enabled, whose extractions would all fail, and when proposals would be lost
    and no export file is given, `BusyError` during a backfill, `BlockedError` when a lock timed out; the proposal tables that
    still exist are writable then.
    """

    with database.connect("schema rollback") as connection, advisory_lock(connection, BACKFILL):
        revision = current_revision(connection)
        if revision is None:
            return SchemaRollback(downgrade(database, limits, on_step=on_step), 0, None)

        def audited(action: AuditAction, after: dict[str, object]) -> None:
            who = {"reason": reason, "actor": actor, "dagster_run_id": dagster_run_id}
            audit.record(connection, action, phase(1), before={"revision": revision}, after=after, **who)

        _require_proposals_off(database, connection)
        with _frozen(connection, limits):
            _require_proposals_off(database, connection)  # nobody can extract into proposals until they are gone
            exported = _export_or_refuse(connection, export_to)
            audited(AuditAction.ROLLBACK_SCHEMA_BEGUN, {"exported": exported})
            change = downgrade(database, limits, on_step=on_step)
        with connection.transaction():
            connection.execute(text_of("rollback/freeze_forgotten"))
            audited(AuditAction.ROLLBACK_SCHEMA, {"revision": change.to_revision, "exported": exported})
    return SchemaRollback(change, exported, export_to)


def _require_proposals_off(database: Database, connection: Connection) -> None:
    if _present(connection, ("feature_flags",)):
        require_proposals_off(database, "without the proposal tables each of their extractions fails")


def _present(connection: Connection, names: Iterable[str]) -> list[str]:
    """Those of our tables that exist: a killed rollback has dropped some, and one may belong to the application."""
    own = made_objects(connection)
    return [name for name in names if f"public.{name}" in own and exists(connection, f"public.{name}")]


@contextmanager
def _frozen(connection: Connection, limits: SchemaChangeSettings) -> Iterator[None]:
    """Refuses writes to the proposal tables; allows them again when the block fails."""
    try:
        connection.execute(text_of("rollback/freeze_rule"))
        for table in _present(connection, FROZEN):
            _freeze(connection, table, limits)
        yield
    except BaseException:
        for table in _present(connection, FROZEN):
            _thaw(connection, table, limits)
        raise


def _freeze(connection: Connection, table: str, limits: SchemaChangeSettings) -> None:
    """One table per transaction: locks on two at once could deadlock with a user's extraction."""
    names = {"events": sql.SQL(FROZEN[table]), "pid": sql.Literal(connection.info.backend_pid)}
    command = statement("rollback/freeze", table=f"public.{table}", **names)
    run_locked(connection, partial(connection.execute, command), (table,), "share_row_exclusive", limits, "The freeze")


def _thaw(connection: Connection, table: str, limits: SchemaChangeSettings) -> None:
    """Drops the trigger if that is possible at once; otherwise it refuses nothing once this session has ended."""
    command = statement("rollback/thaw", table=f"public.{table}")
    once = limits.replaced(attempts=1)
    with suppress(BlockedError):
        run_locked(connection, partial(connection.execute, command), (table,), "access_exclusive", once, "The thaw")


def _export_or_refuse(connection: Connection, export_to: Path | None) -> int:
    lost = proposals_without_copy(connection)
    if lost and export_to is None:
        counts = ", ".join(f"{count} in {table}" for table, count in lost.items())
        raise PreconditionError(
            f"The schema rollback would delete proposals that exist nowhere else: {counts}. Review or replay them "
            "first, or give an export file with --export; nothing was changed."
        )
    return export(connection, export_to) if export_to else 0


def export(connection: Connection, path: Path) -> int:
    """Writes every row of the proposal tables, and every link of a legacy row to its proposal, as JSON lines.

    The file is complete or does not exist, with mode 0600; an existing file is refused.
    """
    if path.exists():
        raise MigrationError(f"{path} exists already. Name another file for the export; nothing was changed.")
    try:
        with written_whole(path) as file:
            return _write_rows(connection, file)
    except OSError as error:
        raise MigrationError(f"The export to {path} failed: {error}. Nothing was changed in the database.") from error


def _write_rows(connection: Connection, file: TextIO) -> int:
    """Row by row, in PostgreSQL's own JSON: no number loses a digit, and a million rows need no memory."""
    rows = 0
    with connection.cursor() as cursor:
        set_json_loads(_as_text, cursor)
        for table, query in _exported(connection):
            for row in cursor.stream(query):
                file.write(f'{{"table": {json.dumps(table)}, "row": {row["row"]}}}\n')
                rows += 1
    return rows


def _exported(connection: Connection) -> list[tuple[str, sql.Composed]]:
    """The existing tables, then the links of topics and atoms to their proposals."""
    own = [
        (table, statement("rollback/export_rows", table=f"public.{table}")) for table in _present(connection, TABLES)
    ]
    linked = [
        step.touches[0] for step in STEPS if step.name == LINK_COLUMN and object_state(connection, step) == "present"
    ]
    return own + [(table, statement("rollback/export_links", table=f"public.{table}")) for table in linked]


def _as_text(raw: str | bytes) -> str:
    return raw if isinstance(raw, str) else raw.decode()
