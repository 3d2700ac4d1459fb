"""Proof that rows are what they were: a count and a checksum of every legacy column, by table and range of keys.

Whatever a single value becomes (NULL to '', white space in a json, one component of an embedding, a value that two rows
exchange), the checksum of its range changes; the order of rows and the migration's own two columns do not touch it. It
is the same on another server (14 or later), after a restore, and under any DateStyle or time zone.

Reads only, one scan a table. Measured on PostgreSQL 18, 2 cores: the large sample (791,000 rows in 8 tables) 0.34 s;
1,127,000 atoms without embeddings 0.73 s; 100,500 atoms with embeddings of 1,536 dimensions 0.9 s.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from psycopg import sql
from psycopg.pq import TransactionStatus

from knowledge_migration.engine.foundation import hashed_columns
from knowledge_migration.engine.foundation import inventory as inventories
from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.foundation.fingerprint_record import (
    Difference,
    Fingerprint,
    RangeFingerprint,
    TableFingerprint,
    differences,
)
from knowledge_migration.engine.foundation.hashed_columns import HashedTable
from knowledge_migration.engine.foundation.inventory import Inventory
from knowledge_migration.engine.foundation.sql_files import statement
from knowledge_migration.engine.foundation.user_tables import reading

__all__ = ["Difference", "Fingerprint", "RangeFingerprint", "TableFingerprint", "differences", "take"]

MINIMUM_SERVER_VERSION = 140000  # the first with hash_record_extended
DEFAULT_RANGE_IDS = 10_000
MAX_RANGES = 10_000  # about 500 kB of evidence a table
WHOLE_TABLE = "all"


def take(
    connection: Connection,
    inventory: Inventory | None = None,
    *,
    like: Fingerprint | None = None,
    range_ids: int = DEFAULT_RANGE_IDS,
) -> Fingerprint:
    """The fingerprint of the inventory's tables, or again of exactly the tables, columns and ranges of `like`.

    Reads in the transaction that is open on `connection`, else in one snapshot of its own; reads the inventory too
    where none is given. `range_ids` is the wanted width of a range (the setting fingerprint_range_ids).
    Raises `PreconditionError` on a server before 14, `MigrationError` where a table may not be read.
    """
    if connection.info.server_version < MINIMUM_SERVER_VERSION:
        raise PreconditionError(
            f"The server is PostgreSQL {connection.info.server_version // 10000}; fingerprints need 14 or later. "
            "Upgrade the server before the migration."
        )
    with _one_moment(connection):
        wanted = _tables_like(like) if like else _tables_of(inventory or inventories.read(connection))
        with _fixed_settings(connection):
            moment = _row(connection, statement("foundation/fingerprint_moment"))
            found = hashed_columns.read(connection, wanted)
            taken = {
                table.label: _retaken(connection, table, like.tables[table.label])
                if like
                else _taken(connection, table, range_ids)
                for table in found
            }
    return Fingerprint(taken, moment["server_version"], moment["taken_at"])


@contextmanager
def _one_moment(connection: Connection) -> Iterator[None]:
    if connection.info.transaction_status != TransactionStatus.IDLE:
        yield
        return
    with connection.transaction():
        connection.execute(statement("foundation/fingerprint_transaction"))
        yield


@contextmanager
def _fixed_settings(connection: Connection) -> Iterator[None]:
    with connection.transaction(force_rollback=True):  # a savepoint: rolling it back restores the caller's settings
        connection.execute(statement("foundation/fingerprint_settings"))
        yield


def _tables_like(like: Fingerprint) -> list[tuple[str, str]]:
    return [(table.schema, table.name) for table in like.tables.values()]


def _tables_of(inventory: Inventory) -> list[tuple[str, str]]:
    return [(table.schema, table.name) for table in inventory.tables]


def _taken(connection: Connection, table: HashedTable, range_ids: int) -> TableFingerprint:
    with reading(connection, table.label):
        return _fingerprint(connection, table, _width(connection, table, range_ids))


def _retaken(connection: Connection, table: HashedTable, before: TableFingerprint) -> TableFingerprint:
    """With the columns, the key and the ranges of `before`, as far as the table still has them."""
    restricted = table.only([column.name for column in before.columns])
    has_key = before.key in {hashed.column.name for hashed in table.columns}
    with reading(connection, table.label):
        return _fingerprint(connection, replace(restricted, key=before.key if has_key else None), before.range_ids)


def _fingerprint(connection: Connection, table: HashedTable, width: int) -> TableFingerprint:
    ranges = _whole(connection, table) if table.key is None else _by_range(connection, table, table.key, width)
    columns = tuple(hashed.column for hashed in table.columns)
    return TableFingerprint(table.schema, table.name, table.key, width, columns, ranges)


def _width(connection: Connection, table: HashedTable, range_ids: int) -> int:
    """The wanted width of a range; more where ids lie so far apart that there would be a range for nearly every row."""
    if table.key is None:
        return range_ids
    names = {"key": sql.Identifier(table.key), "table": sql.Identifier(table.schema, table.name)}
    bounds = _row(connection, statement("foundation/fingerprint_key_bounds", **names))
    span = (bounds["highest"] or 0) - (bounds["lowest"] or 0)
    width = range_ids
    while span // width >= MAX_RANGES:
        width *= 10
    return width


def _whole(connection: Connection, table: HashedTable) -> dict[str, RangeFingerprint]:
    whole = _row(connection, statement("foundation/fingerprint_whole", **_names(table)))
    return {WHOLE_TABLE: RangeFingerprint(whole["rows"], int(whole["checksum"]))}


def _by_range(connection: Connection, table: HashedTable, key: str, width: int) -> dict[str, RangeFingerprint]:
    query = statement(
        "foundation/fingerprint_ranges", key=sql.Identifier(key), width=sql.Literal(width), **_names(table)
    )
    rows = sorted(connection.execute(query), key=lambda row: row["range"])
    return {_range_name(row["range"], width): RangeFingerprint(row["rows"], int(row["checksum"])) for row in rows}


def _range_name(number: int, width: int) -> str:
    return f"{number * width}..{(number + 1) * width - 1}"


def _names(table: HashedTable) -> dict[str, sql.Composable]:
    return {
        "table": sql.Identifier(table.schema, table.name),
        "values": sql.SQL(", ").join(hashed.expression for hashed in table.columns),
    }


def _row(connection: Connection, query: sql.Composed) -> dict[str, Any]:
    row = connection.execute(query).fetchone()
    assert row is not None  # an aggregate without GROUP BY, and a SELECT without FROM, have one row
    return row
