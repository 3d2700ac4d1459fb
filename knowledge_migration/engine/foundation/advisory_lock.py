"""One runner at a time: an advisory lock of a session, so that it ends with its process however that dies."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg

from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.errors import BusyError
from knowledge_migration.engine.foundation.sql_files import text_of


@contextmanager
def advisory_lock(connection: Connection, work: str, *, shared: bool = False) -> Iterator[None]:
    """Holds the right to do `work` in this database; raises `BusyError` naming who holds it.

    A `shared` right may be held by many at once, but not beside an exclusive one.
    The lock belongs to the session of `connection`: it needs a direct connection, not a transaction pooler.
    """
    row = connection.execute(text_of("foundation/advisory_lock"), {"work": work, "shared": shared}).fetchone()
    assert row is not None
    if not row["acquired"]:
        holder = connection.execute(text_of("foundation/advisory_lock_holder"), {"work": work}).fetchone()
        who = (
            f"pid {holder['pid']}, {holder['application']}, since {holder['since']:%H:%M:%S}"
            if holder
            else "just ended"
        )
        raise BusyError(
            f"Another process is doing this now: {work} ({who}). Wait for it, or end it; what it has committed stays, "
            "and a second run goes on from there."
        )
    try:
        yield
    finally:
        with suppress(
            psycopg.OperationalError
        ):  # a session that is lost has lost the lock; the first error is the one to tell
            connection.execute(text_of("foundation/advisory_unlock"), {"work": work, "shared": shared})
