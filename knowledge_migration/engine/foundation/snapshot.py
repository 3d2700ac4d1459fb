"""An exported snapshot: the inventory, the fingerprint and pg_dump read the same rows.

The transaction only reads. While it is open, vacuum cannot remove rows that it can see, and a schema change of a table
that it has read waits: keep it open for the dump, and close it before the verification of the dump.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from psycopg import IsolationLevel

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.sql_files import statement


@dataclass(frozen=True)
class Snapshot:
    """An exported snapshot; `connection` reads in it, pg_dump imports it by `snapshot_id`."""

    connection: Connection
    snapshot_id: str
    taken_at: datetime


@contextmanager
def exported_snapshot(database: Database) -> Iterator[Snapshot]:
    """A read-only REPEATABLE READ transaction without timeouts; raises `UnreachableError`."""
    with database.connect("snapshot") as connection:
        connection.execute(statement("foundation/snapshot_session"))
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        with connection.transaction():
            exported = connection.execute(statement("foundation/snapshot_export")).fetchone()
            assert exported is not None  # a SELECT without FROM has one row
            yield Snapshot(connection, exported["snapshot_id"], exported["taken_at"])
