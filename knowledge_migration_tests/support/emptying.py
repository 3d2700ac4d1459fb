"""Empties a database between tests that share it, while a service goes on running on it."""

import time

from psycopg import sql
from psycopg.errors import DeadlockDetected

from knowledge_migration.engine.foundation.database import Database

KEPT = ("schema_object", "feature_flags", "backfill_control", "writer_heartbeat")
"""What the schema or a running service needs. A process keeps the newest flags that it knows, so they are set and not lost."""

TABLES = """
SELECT schemaname, tablename FROM pg_tables
WHERE schemaname IN ('public', 'migration') AND tablename <> ALL (%(kept)s) AND tablename NOT LIKE 'alembic%%'
"""
COUNTED_FROM_ONE = ("users", "sources", "messages")
"""Other tables go on counting: a service that has seen an id looks for greater ones only."""


ENDED_PROCESSES = """
DELETE FROM migration.writer_heartbeat
WHERE process <> (SELECT process FROM migration.writer_heartbeat ORDER BY started_at DESC LIMIT 1)
"""
"""One service runs; a killed one that it replaced counts as live for some seconds more."""

ATTEMPTS = 20


def delete_all_rows(database: Database) -> None:
    """Deletes the rows of users and of the migration, and lets an operator's controls of the backfill be the default ones.

    The background work of the service may hold rows in another order, so a deadlock is retried.
    """
    for _ in range(ATTEMPTS):
        try:
            return _delete(database)
        except DeadlockDetected:
            time.sleep(0.2)
    return _delete(database)


def _delete(database: Database) -> None:
    """Blocks no reader; as a session of a replica it fires neither foreign keys nor the append-only trigger."""
    with database.connect("test") as connection, connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        for row in connection.execute(TABLES, {"kept": list(KEPT)}).fetchall():
            table = sql.Identifier(row["schemaname"], row["tablename"])
            connection.execute(sql.SQL("DELETE FROM {}").format(table))
        for name in COUNTED_FROM_ONE:
            connection.execute("SELECT setval(pg_get_serial_sequence(%s, 'id'), 1, false)", (name,))
        connection.execute(ENDED_PROCESSES)
        connection.execute(
            "UPDATE migration.backfill_control SET paused = false, batch_size = NULL, rate_limit_per_second = NULL"
        )
