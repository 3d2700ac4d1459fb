"""Rows by their keys, with every value as text: read on one side, written exactly so on the other.

Needs exact texts set in the transaction on both sides. What is written is read again in the same transaction: a trigger
that changes a value on the way is an error, and the row stays as it was.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from psycopg import errors, sql
from psycopg.rows import tuple_row

from knowledge_migration.engine.backfill.batch import DATA_ERRORS
from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.errors import VerificationError
from knowledge_migration.engine.foundation.sql_files import statement, text_of
from knowledge_migration.engine.rollback.repair.compared_tables import ComparedTable, cast, text_arrays, text_name
from knowledge_migration.engine.rollback.repair.comparison import Key

Lock = Literal["none", "skip", "wait"]
Change = Literal["update", "insert"]

LOCKS: Mapping[Lock, sql.SQL] = {
    "none": sql.SQL(""),
    "skip": sql.SQL("FOR NO KEY UPDATE OF source SKIP LOCKED"),
    "wait": sql.SQL("FOR NO KEY UPDATE OF source"),
}
REFUSALS = (*DATA_ERRORS, errors.ForeignKeyViolation)


@dataclass(frozen=True)
class Row:
    """One row: the hash of its values and each value as text, in the order of the table's columns."""

    hash: int
    values: tuple[str | None, ...]


def rows_by_key(
    connection: Connection, table: ComparedTable, keys: Sequence[Key], lock: Lock = "none"
) -> dict[Key, Row]:
    """Those of the rows that are there, and with "skip" that nobody holds; locked until the transaction ends."""
    if not keys:
        return {}
    width = len(keys[0])
    query = statement(
        "restore/rows_by_key",
        key=table.key_texts,
        hash=table.row_hash,
        values=table.value_texts,
        table=table.name,
        matching=table.matching_key("source", "wanted"),
        lock=LOCKS[lock],
        **text_arrays(width),
    )
    with connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(query, _arrays(list(keys), width))
        return {tuple(key): Row(hashed, tuple(values)) for key, hashed, values in cursor}


def write(connection: Connection, table: ComparedTable, change: Change, rows: Mapping[Key, Row]) -> None:
    """Updates or inserts the rows in the open transaction, and proves that they are there as given.

    Raises what psycopg raises, and `VerificationError` when something in the database changed a value on the way.
    """
    if not rows:
        return
    connection.execute(text_of("restore/own_search_path"))
    composed = _update(table) if change == "update" else _insert(table)
    width = len(table.columns)
    connection.execute(composed, _arrays([row.values for row in rows.values()], width))
    connection.execute(statement("restore/exact_texts"))
    found = rows_by_key(connection, table, list(rows))
    wrong = [key for key, row in rows.items() if key not in found or found[key].hash != row.hash]
    if wrong:
        raise VerificationError(
            f"Row {', '.join(wrong[0])} of {table.label} is not as it was written: a trigger or a rule of the table changes "
            "it. The row stays as it was. Disable that trigger while this runs, then run it again."
        )


def _update(table: ComparedTable) -> sql.Composed:
    keys = {hashed.column.name for hashed in table.key}
    assigned = [
        sql.SQL("{} = {}").format(sql.Identifier(hashed.column.name), cast("given", number, hashed))
        for number, hashed in enumerate(table.columns)
        if hashed in table.written and hashed.column.name not in keys
    ]
    return statement(
        "restore/update_rows",
        table=table.name,
        assignments=sql.SQL(", ").join(assigned),
        matching=table.matching_values("target", "given"),
        **text_arrays(len(table.columns)),
    )


def _insert(table: ComparedTable) -> sql.Composed:
    written = [(number, hashed) for number, hashed in enumerate(table.columns) if hashed in table.written]
    return statement(
        "restore/insert_rows",
        table=table.name,
        columns=sql.SQL(", ").join(sql.Identifier(hashed.column.name) for _, hashed in written),
        values=sql.SQL(", ").join(cast("given", number, hashed) for number, hashed in written),
        **text_arrays(len(table.columns)),
    )


def _arrays(rows: Sequence[Sequence[str | None]], width: int) -> dict[str, list[str | None]]:
    """One array a column, as `text_arrays` names them."""
    return {text_name(number): [row[number] for row in rows] for number in range(width)}
