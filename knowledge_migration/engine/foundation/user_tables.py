"""The user's tables: their names, their columns and how each column is hashed, read from the catalog.

The hash rules are in the query fingerprint_columns: a type is hashed as it is only where equal means the same bytes,
else by its binary form or its text. The expressions are parts of a ROW(...), never statements of their own.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby

from psycopg import errors, sql
from psycopg.rows import DictRow

from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration.engine.foundation.sql_files import statement
from knowledge_migration.knowledge.tables import LINK_COLUMNS

_LINKS = {(table, column.name) for table, columns in LINK_COLUMNS.items() for column in columns}


@dataclass(frozen=True)
class Column:
    """A column, with its type as the catalog writes it ("character varying(100)")."""

    name: str
    type: str


@dataclass(frozen=True)
class HashedColumn:
    """A column, and the expression of its value in the checksum."""

    column: Column
    expression: sql.Composable


@dataclass(frozen=True)
class HashedTable:
    """A table with its columns, without the two link columns of the migration, and its integer key if it has one."""

    schema: str
    name: str
    key: str | None
    columns: tuple[HashedColumn, ...]

    @property
    def label(self) -> str:
        """The name of the table in reports."""
        return label(self.schema, self.name)

    def only(self, names: Sequence[str]) -> "HashedTable":
        """The table with only the named columns, in the order of the names."""
        by_name = {hashed.column.name: hashed for hashed in self.columns}
        return replace(self, columns=tuple(by_name[name] for name in names if name in by_name))


def label(schema: str, name: str) -> str:
    """The name of a table in reports and evidence, qualified unless it is in `public`."""
    return name if schema == "public" else f"{schema}.{name}"


@contextmanager
def reading(connection: Connection, table: str) -> Iterator[None]:
    """Around a statement that reads one of the user's tables: explains a missing privilege."""
    user = connection.info.user
    try:
        yield
    except errors.InsufficientPrivilege as error:
        raise MigrationError(
            f"User {user} may not read every row of table {table}: {error.diag.message_primary}. "
            f"Grant it pg_read_all_data (or SELECT on the table), and BYPASSRLS where the table has row security."
        ) from error


def hashed_tables(connection: Connection, tables: Sequence[tuple[str, str]]) -> list[HashedTable]:
    """The given tables (schema, name) in the given order; omits tables that do not exist."""
    rows = connection.execute(
        statement("foundation/fingerprint_columns"),
        {"schemas": [schema for schema, _ in tables], "tables": [name for _, name in tables]},
    ).fetchall()
    groups = groupby(rows, key=lambda row: (row["schema"], row["table"], row["key"]))
    return [HashedTable(*described, columns=_columns(list(members))) for described, members in groups]


def _columns(rows: list[DictRow]) -> tuple[HashedColumn, ...]:
    return tuple(
        HashedColumn(Column(row["name"], row["type"]), _expression(row))
        for row in rows
        if (row["table"], row["name"]) not in _LINKS
    )


def _expression(row: DictRow) -> sql.Composable:
    column = sql.Identifier(row["name"])
    if row["hashed_as"] == "itself":
        return column
    if row["hashed_as"] == "send":
        return sql.SQL("{}({})").format(sql.Identifier(row["send_schema"], row["send_function"]), column)
    # "C", because different texts can have the same hash under a nondeterministic collation
    return sql.SQL('({}::text COLLATE pg_catalog."C")').format(column)
