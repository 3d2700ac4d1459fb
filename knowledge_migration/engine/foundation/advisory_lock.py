"""One runner at a time: an advisory lock of a session, so that it ends with its process."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg

from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.errors import BusyError
from knowledge_migration.engine.foundation.sql_files import text_of

BACKFILL = "backfill"
"""Shared by the switch to dual write and by the backfill; exclusive for the rollbacks of both."""


@contextmanager
def advisory_lock(connection: Connection, work: str, *, shared: bool = False) -> Iterator[None]:
    """Locks `work` in this database for the session of `connection`; raises `BusyError` naming the holder.

    Many sessions can hold a `shared` lock, but not beside an exclusive one. Needs a direct connection, not a transaction
    pooler.
    """
    parameters = {"work": work, "shared": shared}
    row = connection.execute(text_of("foundation/advisory_lock"), parameters).fetchone()
    assert row is not None
    if not row["acquired"]:
        holder = connection.execute(text_of("foundation/advisory_lock_holder"), parameters).fetchone()
        name = "pid {pid}, {application}, since {since:%H:%M:%S}".format(**holder) if holder else "just ended"
        raise BusyError(
            f"Another process is doing this now: {work} ({name}). Wait until it ends, or end it; its committed work stays, "
            "and a second run resumes it."
        )
    try:
        yield
    finally:
        with suppress(
            psycopg.OperationalError
        ):  # a lost session has lost its lock; the first error is the relevant one
            connection.execute(text_of("foundation/advisory_unlock"), parameters)
