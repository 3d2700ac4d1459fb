"""The way back from phase 1: to the recorded revision, and not over proposals that exist nowhere else.

First the proposal tables are frozen (a trigger refuses new writes), so that what is counted and exported is all there
will ever be; if the rollback is refused, they are thawed again. A proposal exists nowhere else unless it is the
backfilled image of a row. The legacy tables lose the two link columns and nothing else.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from knowledge_migration.engine import audit
from knowledge_migration.engine.backfill.runner import WORK as BACKFILL_WORK
from knowledge_migration.engine.database import Connection, Database
from knowledge_migration.engine.ddl import LockLimits
from knowledge_migration.engine.errors import MigrationError, PreconditionError
from knowledge_migration.engine.exclusive import exclusive
from knowledge_migration.engine.schema import OnStep, SchemaChange, current_revision, downgrade
from knowledge_migration.engine.schema_steps import EVIDENCE_REVISION
from knowledge_migration.engine.statements import statement, text_of

TABLES = ("knowledge_extraction_runs", "topic_proposals", "atom_proposals", "feature_flags")


@dataclass(frozen=True)
class SchemaRollback:
    """What was undone, and what was exported before."""

    change: SchemaChange
    exported_rows: int
    export_file: Path | None


def proposals_without_copy(connection: Connection) -> dict[str, int]:
    """Per table, the proposals that exist nowhere else; empty when the tables are not there."""
    if connection.execute("SELECT to_regclass('public.atom_proposals') AS there").fetchone() == {"there": None}:
        return {}
    rows = connection.execute(text_of("rollback/proposals_without_copy")).fetchall()
    return {row["proposals"]: row["rows"] for row in rows if row["rows"]}


def rollback_schema(
    database: Database,
    limits: LockLimits,
    *,
    reason: str,
    export_to: Path | None = None,
    actor: str | None = None,
    dagster_run_id: str | None = None,
    on_step: OnStep | None = None,
) -> SchemaRollback:
    """Takes the schema back to our own evidence store.

    Raises `PreconditionError` when proposals would be lost and no export file is named, `BusyError` during a backfill.
    """
    with database.connect("schema rollback") as connection, exclusive(connection, BACKFILL_WORK):
        exported = 0
        if current_revision(connection) not in (None, EVIDENCE_REVISION):
            with _frozen(connection):
                exported = _export_or_refuse(connection, export_to)
        change = downgrade(database, limits, on_step=on_step)
        with connection.transaction():
            connection.execute(text_of("rollback/freeze_forgotten"))
            audit.record(
                connection,
                "rollback schema",
                "phase 1",
                reason=reason,
                actor=actor,
                dagster_run_id=dagster_run_id,
                before={"revision": change.from_revision},
                after={"revision": change.to_revision, "exported": exported},
            )
    return SchemaRollback(change, exported, export_to if exported else None)


@contextmanager
def _frozen(connection: Connection) -> Iterator[None]:
    """Refuses writes to the proposal tables from here on; thaws them when the body does not succeed."""
    with connection.transaction():
        connection.execute("SET LOCAL lock_timeout = '5s'")
        connection.execute(text_of("rollback/freeze"))
    try:
        yield
    except BaseException:
        with connection.transaction():
            connection.execute(text_of("rollback/thaw"))
        raise


def _export_or_refuse(connection: Connection, export_to: Path | None) -> int:
    lost = proposals_without_copy(connection)
    if lost and export_to is None:
        counts = ", ".join(f"{count} in {table}" for table, count in lost.items())
        raise PreconditionError(
            f"The schema rollback would destroy proposals that exist nowhere else: {counts}. Review or replay them "
            "first, or name a file for them with --export; nothing was changed."
        )
    return export(connection, export_to) if export_to else 0


def export(connection: Connection, path: Path) -> int:
    """Writes every row of the proposal tables as JSON lines, complete or not at all; refuses an existing file."""
    if path.exists():
        raise MigrationError(f"{path} exists already. Name another file for the export; nothing was changed.")
    partial = path.with_name(f".{path.name}.partial")
    rows = 0
    try:
        with partial.open("x", encoding="utf-8") as file:
            partial.chmod(0o600)
            for table in TABLES:
                for row in connection.execute(statement("rollback/export_rows", table=f"public.{table}")):
                    file.write(json.dumps({"table": table, "row": row["row"]}, ensure_ascii=False) + "\n")
                    rows += 1
            file.flush()
            os.fsync(file.fileno())
        os.link(partial, path)
    except OSError as error:
        raise MigrationError(f"The export to {path} failed: {error}. Nothing was changed in the database.") from error
    finally:
        partial.unlink(missing_ok=True)
    return rows
