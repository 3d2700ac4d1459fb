"""How the user's tables are spoken of: their names and columns, and what to do when one may not be read."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from psycopg import errors

from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.errors import MigrationError

OWN_SCHEMA = "migration"
OWN_TABLES = (
    "topic_proposals",
    "atom_proposals",
    "knowledge_extraction_runs",
    "feature_flags",
    "knowledge_extraction_archive",
)
LINK_COLUMNS = ("migrated_from_proposal_id", "migration_timestamp")


@dataclass(frozen=True)
class Column:
    """A column, with its type as the catalog writes it ("character varying(100)")."""

    name: str
    type: str


def label(schema: str, name: str) -> str:
    """How a table is named in reports and evidence: its name, qualified where it is not in `public`."""
    return name if schema == "public" else f"{schema}.{name}"


@contextmanager
def reading(connection: Connection, table: str) -> Iterator[None]:
    """Around a statement that reads one of the user's tables: a right that is missing becomes a clear error."""
    user = connection.info.user
    try:
        yield
    except errors.InsufficientPrivilege as error:
        raise MigrationError(
            f"User {user} may not read every row of table {table}: {error.diag.message_primary}. "
            f"Grant it pg_read_all_data (or SELECT on the table), and BYPASSRLS where the table has row security."
        ) from error
