"""Fills an empty legacy schema with a knowledge base: all of it or nothing, in one transaction.

Only for databases of our own (the demonstration, tests, benchmarks): a table that holds rows is refused.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from psycopg import sql

from knowledge_migration.demo.knowledge_base import TABLES, KnowledgeBase, Row
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration.engine.foundation.sql_files import statement, text_of

JSON_COLUMNS = frozenset({"config", "included_in_runs", "noise_factors", "meta"})

Progress = Callable[[str, int], None]


@dataclass(frozen=True)
class LoadResult:
    """The rows stored, by table."""

    rows: dict[str, int]


def build_legacy_schema(database: Database) -> None:
    """Creates the tables of the application before phase 1; refuses a database that has any of them."""
    with database.connect("demonstration") as connection, connection.transaction():
        there = connection.execute(text_of("demo/existing_tables")).fetchall()
        if there:
            names = ", ".join(row["name"] for row in there)
            raise MigrationError(f"{database.display} has the tables {names} already. Use an empty database.")
        connection.execute(text_of("legacy/schema"))


def load(database: Database, knowledge_base: KnowledgeBase, *, progress: Progress | None = None) -> LoadResult:
    """Copies every row, sets each sequence beyond the last id and runs ANALYZE.

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
    return LoadResult(stored)


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
