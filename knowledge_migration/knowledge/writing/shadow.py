"""The shadow of a direct write: its proposals, in a savepoint, so that nothing in it can harm what the user gets.

Whatever fails (a constraint, a timeout, a missing table, a fault of ours) is rolled back alone, counted, and kept in
`migration.shadow_failure` with everything that was extracted; `repair_next` makes the proposals later. Where not even
that can be written, the log has it.
"""

import logging
from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

import psycopg
import sqlalchemy as sa

from knowledge_migration.knowledge.tables import shadow_failure

log = logging.getLogger(__name__)

T = TypeVar("T")


def in_shadow(
    connection: sa.Connection,
    work: Callable[[], T],
    content: Callable[[], dict[str, Any]],
    *,
    run_id: UUID | None,
    timeout_ms: int,
    process: str,
) -> T | None:
    """Does `work` in a savepoint; None when it failed, and then what `content` returns is kept for repair.

    To be the last thing of a transaction but for reads: the savepoint is left for the commit to release, which saves a
    round trip. Only the loss of the connection passes through: then the direct write is lost too.
    """
    connection.exec_driver_sql(f"SAVEPOINT shadow; SET LOCAL statement_timeout = {int(timeout_ms)}")
    try:
        return work()
    except Exception as error:  # whatever it is, it is not the user's
        if connection.invalidated or connection.closed:
            raise
        connection.exec_driver_sql("ROLLBACK TO SAVEPOINT shadow; RELEASE SAVEPOINT shadow")
        _keep(connection, error, content(), run_id, process)
        return None


def quietly(connection: sa.Connection, work: Callable[[], None], what: str) -> None:
    """Does `work` in a savepoint; a failure is logged and harms nothing else."""
    try:
        with connection.begin_nested():
            work()
    except sa.exc.DBAPIError as error:
        if error.connection_invalidated:
            raise
        log.warning("%s failed, the rest of the transaction stays: %s", what, error.orig)


def _keep(
    connection: sa.Connection, error: Exception, content: dict[str, Any], run_id: UUID | None, process: str
) -> None:
    cause = getattr(error, "orig", error)
    reason = str(cause).strip().partition("\n")[0] or type(cause).__name__
    log.warning("The shadow of extraction run %s failed, the direct result stays: %s", run_id, reason)
    row = {
        "extraction_run_id": run_id,
        "process": process,
        "sqlstate": cause.sqlstate if isinstance(cause, psycopg.Error) else None,
        "reason": reason,
        "content": content,
    }
    try:
        with connection.begin_nested():
            connection.execute(sa.insert(shadow_failure).values(row))
    except sa.exc.DBAPIError as second:
        if second.connection_invalidated:
            raise
        log.error(
            "The failed shadow of run %s could not be kept for repair: %s; it held %s", run_id, second.orig, content
        )
