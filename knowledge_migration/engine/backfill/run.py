"""The one extraction run that all backfilled proposals belong to: found again on every start."""

from uuid import UUID

from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.foundation.sql_files import text_of


def open_run(connection: Connection, *, reopen: bool = False) -> UUID:
    """Begins the run or finds it; `reopen` sets a completed one running again (rows have appeared since).

    Raises `PreconditionError` when the schema phase has not been run.
    """
    require_phase_1(connection)
    connection.execute(text_of("backfill/open_run"), {"reopen": reopen})
    return run_id(connection)


def require_phase_1(connection: Connection) -> None:
    """Raises `PreconditionError` when the schema phase has not been run."""
    if not _there(connection):
        raise PreconditionError(
            "The proposal tables do not exist in this database. Run phase 1 (job phase_1_schema) first."
        )


def _there(connection: Connection) -> bool:
    row = connection.execute("SELECT to_regclass('public.knowledge_extraction_runs') AS there").fetchone()
    return row is not None and row["there"] is not None


def run_id(connection: Connection) -> UUID:
    """The id of the run, whether it has begun or not."""
    row = connection.execute("SELECT migration.origin_proposal_id('knowledge_extraction_runs', 0) AS id").fetchone()
    assert row is not None
    found: UUID = row["id"]
    return found


def run_status(connection: Connection) -> str | None:
    """'running', 'completed', or None before the first batch (or before phase 1)."""
    if not _there(connection):
        return None
    row = connection.execute(text_of("backfill/run")).fetchone()
    return str(row["status"]) if row else None


def close_run(connection: Connection) -> None:
    """Marks the run completed; the caller has proven that nothing is left to link."""
    connection.execute(text_of("backfill/close_run"))
