"""The one extraction run that all backfilled proposals belong to; its id is fixed."""

from uuid import UUID

from knowledge_migration.engine.foundation.database import Connection, exists
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.foundation.sql_files import text_of

RUNS = "public.knowledge_extraction_runs"


def require_phase_1(connection: Connection) -> None:
    """Raises `PreconditionError` when the schema phase has not been run."""
    if not exists(connection, RUNS):
        raise PreconditionError(
            "The proposal tables do not exist in this database. Run phase 1 (job phase_1_schema) first."
        )


def open_run(connection: Connection, *, reopen: bool = False) -> UUID:
    """Starts the run or finds it; `reopen` sets a completed run to running again because new rows have appeared.

    Raises `PreconditionError` when the schema phase has not been run.
    """
    require_phase_1(connection)
    connection.execute(text_of("backfill/open_run"), {"reopen": reopen})
    return run_id(connection)


def run_id(connection: Connection) -> UUID:
    """The id of the run, started or not."""
    row = connection.execute("SELECT migration.origin_proposal_id('knowledge_extraction_runs', 0) AS id").fetchone()
    assert row is not None
    identifier: UUID = row["id"]
    return identifier


def run_status(connection: Connection) -> str | None:
    """'running', 'completed', or None before the first batch (or before phase 1)."""
    row = connection.execute(text_of("backfill/run")).fetchone() if exists(connection, RUNS) else None
    return str(row["status"]) if row else None


def close_run(connection: Connection) -> None:
    """Marks the run completed; the caller has checked that nothing is left to link."""
    connection.execute(text_of("backfill/close_run"))
