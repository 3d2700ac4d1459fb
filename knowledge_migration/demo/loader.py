"""Fills an empty legacy schema with a knowledge base: all of it or nothing, in one transaction.

Only for databases of our own (the demonstration, tests, benchmarks): a table that holds rows is refused.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Protocol

from psycopg import sql

from knowledge_migration.demo.python_documentation import PythonDocumentation, Row
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration.engine.foundation.sql_files import statement, text_of

# parents before the tables that refer to them
TABLES: tuple[str, ...] = ("users", "sources", "topics", "messages", "atoms", "topic_atoms", "atom_links")
JSON_COLUMNS = frozenset({"config", "included_in_runs", "noise_factors", "meta"})

Progress = Callable[[str, int], None]


class KnowledgeBase(Protocol):
    """A source of rows. A column that a row does not name gets the table's default."""

    def rows(self, table: str) -> Iterable[Row]:
        """The rows of one of `TABLES`, in the order in which they are to be stored."""
        ...


def prepare_demonstration(database: Database, progress: Progress) -> dict[str, int] | None:
    """Builds the legacy schema and loads the documentation of this Python; returns the rows stored by table.

    None if the demonstration is already there. A partly built one is completed.
    """
    with database.connect("demonstration") as connection:
        tables = connection.execute(text_of("demo/existing_tables")).fetchall()
        if tables and connection.execute(statement("demo/any_row", table="public.topics")).fetchone():
            return None  # it is loaded in one transaction, so any topic means all of it
    if not tables:
        build_legacy_schema(database)
    return load(database, PythonDocumentation(), progress=progress)


def build_legacy_schema(database: Database) -> None:
    """Creates the tables of the application before phase 1; refuses a database that has any of them."""
    with database.connect("demonstration") as connection, connection.transaction():
        there = connection.execute(text_of("demo/existing_tables")).fetchall()
        if there:
            names = ", ".join(row["name"] for row in there)
            raise MigrationError(f"{database.display} has the tables {names} already. Use an empty database.")
        connection.execute(text_of("legacy/schema"))


def load(database: Database, knowledge_base: KnowledgeBase, *, progress: Progress | None = None) -> dict[str, int]:
    """Copies every row, sets each sequence beyond the last id and runs ANALYZE; returns the rows stored by table.

    Raises `MigrationError` when a table already holds rows; nothing is stored then, nor after any other error.
    """
    stored: dict[str, int] = {}
    with database.connect("demonstration") as connection:
        with connection.transaction():
            for table in TABLES:
                _refuse_rows(connection, table)
                stored[table] = _copy(connection, table, knowledge_base, progress)
            connection.execute(text_of("demo/advance_sequences"))
        connection.execute(text_of("demo/analyze"))
    return stored


def _refuse_rows(connection: Connection, table: str) -> None:
    if connection.execute(statement("demo/any_row", table=f"public.{table}")).fetchone():
        raise MigrationError(
            f"Table {table} already holds rows; only an empty legacy schema is filled. Nothing was "
            "stored; use an empty database."
        )


def _copy(connection: Connection, table: str, knowledge_base: KnowledgeBase, progress: Progress | None) -> int:
    """Rows are copied in runs that name the same columns, so that the rest take their defaults."""
    count = 0
    for columns, rows in groupby(knowledge_base.rows(table), key=tuple):
        count += _copy_run(connection, table, columns, rows)
        if progress:
            progress(table, count)
    return count


def _copy_run(connection: Connection, table: str, columns: Sequence[str], rows: Iterator[Row]) -> int:
    command = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier("public", table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    count = 0
    with connection.cursor() as cursor, cursor.copy(command) as copy:
        for row in rows:
            copy.write_row([_value(column, row[column]) for column in columns])
            count += 1
    return count


def _value(column: str, value: Any) -> Any:
    if value is None:
        return None
    if column in JSON_COLUMNS:
        return json.dumps(value, ensure_ascii=False)
    return str(value) if column == "embedding" else value
