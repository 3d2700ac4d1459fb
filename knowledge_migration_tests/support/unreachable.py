"""A database that refuses connections."""

from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import sql

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer


def allow_connections(server: EmbeddedServer, database: Database, allowed: bool) -> None:
    """Permits connections to a database, or forbids them and terminates the existing ones."""
    statement = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    with server.admin.connect("test") as admin:
        admin.execute(statement.format(sql.Identifier(database.name), sql.Literal(allowed)))
        if not allowed:
            end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
            admin.execute(end, (database.name,))


@contextmanager
def away(server: EmbeddedServer, database: Database) -> Iterator[None]:
    """The database refuses connections during the block."""
    allow_connections(server, database, False)
    try:
        yield
    finally:
        allow_connections(server, database, True)
