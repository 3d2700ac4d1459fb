"""The record of the objects that this migration has created: it never adopts or drops anything else."""

from typing import Any

from knowledge_migration.engine.foundation.database import Connection, exists
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.knowledge.tables import proposals

OWN_SCHEMA = "migration"
OWN_TABLES = tuple(proposals.tables)
LEDGER = "migration.schema_object"


def current_revision(connection: Connection) -> str | None:
    """The revision that this database records; None before the first."""
    if not exists(connection, "migration.alembic_version"):
        return None
    row = connection.execute(text_of("foundation/schema_revision")).fetchone()
    return str(row["revision"]) if row else None


def made_objects(connection: Connection) -> frozenset[str]:
    """The full names of the objects that this migration has created and not dropped since."""
    if not exists(connection, LEDGER):
        return frozenset()
    return frozenset(str(row["name"]) for row in connection.execute(text_of("foundation/objects_made")))


def foreign_objects(connection: Connection) -> list[dict[str, Any]]:
    """Objects with a name that the migration uses, created by somebody else: object and kind."""
    own = sorted(made_objects(connection))
    return connection.execute(text_of("foundation/foreign_objects"), {"made": own}).fetchall()
