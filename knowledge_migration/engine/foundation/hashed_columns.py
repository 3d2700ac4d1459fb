"""How each column of the user's tables becomes part of a checksum; read from the catalog, so it works with any column.

The rules stand in sql/reports/fingerprint_columns.sql: a type is hashed as it is only where equal means the same bytes,
else by its binary form or its text. The expressions here are pieces of a ROW(...), never statements of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from psycopg import sql
from psycopg.rows import DictRow

from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.sql_files import statement
from knowledge_migration.engine.foundation.user_tables import LINK_COLUMNS, Column, label
from knowledge_migration.knowledge.entity_kinds import KINDS

ENTITY_TABLES = {kind.table for kind in KINDS}


@dataclass(frozen=True)
class HashedColumn:
    """A column, and the expression that stands for its value in the checksum."""

    column: Column
    expression: sql.Composable


@dataclass(frozen=True)
class HashedTable:
    """A table as the catalog has it: its columns but for the migration's own two, and its integer key if it has one."""

    schema: str
    name: str
    key: str | None
    columns: tuple[HashedColumn, ...]

    @property
    def label(self) -> str:
        """The name under which reports show it."""
        return label(self.schema, self.name)

    def only(self, names: Sequence[str]) -> "HashedTable":
        """The table with those of its columns that are named, in the order of the names."""
        by_name = {hashed.column.name: hashed for hashed in self.columns}
        return replace(self, columns=tuple(by_name[name] for name in names if name in by_name))


def read(connection: Connection, tables: Sequence[tuple[str, str]]) -> list[HashedTable]:
    """The given tables (schema, name) that exist, in the given order; a table that is not there is left out."""
    rows = connection.execute(
        statement("foundation/fingerprint_columns"),
        {"schemas": [schema for schema, _ in tables], "tables": [name for _, name in tables]},
    ).fetchall()
    found = groupby(rows, key=lambda row: (row["schema"], row["table"], row["key"]))
    return [HashedTable(*described, columns=_columns(list(members))) for described, members in found]


def _columns(rows: list[DictRow]) -> tuple[HashedColumn, ...]:
    kept = [row for row in rows if not (row["table"] in ENTITY_TABLES and row["name"] in LINK_COLUMNS)]
    return tuple(HashedColumn(Column(row["name"], row["type"]), _expression(row)) for row in kept)


def _expression(row: DictRow) -> sql.Composable:
    column = sql.Identifier(row["name"])
    if row["hashed_as"] == "itself":
        return column
    if row["hashed_as"] == "send":
        return sql.SQL("{}({})").format(sql.Identifier(row["send_schema"], row["send_function"]), column)
    # "C", because under a nondeterministic collation texts that differ hash alike
    return sql.SQL('({}::text COLLATE pg_catalog."C")').format(column)
