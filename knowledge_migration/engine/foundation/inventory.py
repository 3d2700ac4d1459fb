"""The tables around topics and atoms: everything that foreign keys reach, with exact row counts (strategy §2.1).

Follows pg_constraint in both directions through any number of steps, so it includes tables of the user's own that
reference topics; it never includes the migration's tables. Reads only; on a snapshot's connection it counts its rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from psycopg import sql
from psycopg.rows import DictRow

from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.foundation.own_objects import OWN_SCHEMA, OWN_TABLES
from knowledge_migration.engine.foundation.sql_files import statement
from knowledge_migration.engine.foundation.user_tables import Column, label, reading
from knowledge_migration.knowledge.entity_kinds import KINDS


@dataclass(frozen=True)
class ForeignKey:
    """A foreign key between two tables of the inventory; `on_delete` as in SQL ("NO ACTION")."""

    name: str
    table: str
    columns: tuple[str, ...]
    referenced: str
    referenced_columns: tuple[str, ...]
    validated: bool
    on_delete: str


@dataclass(frozen=True)
class InventoriedTable:
    """One table: exact row count, sizes (`heap_bytes` includes TOAST), id range where it has an integer `id`."""

    schema: str
    name: str
    rows: int
    heap_bytes: int
    index_bytes: int
    total_bytes: int
    lowest_id: int | None
    highest_id: int | None
    columns: tuple[Column, ...]
    foreign_keys: tuple[ForeignKey, ...]

    @property
    def label(self) -> str:
        """The name of the table in reports."""
        return label(self.schema, self.name)

    @property
    def parents(self) -> set[str]:
        """The other tables that it references."""
        return {key.referenced for key in self.foreign_keys} - {self.label}


@dataclass(frozen=True)
class Inventory:
    """All tables around topics and atoms, parents first."""

    tables: tuple[InventoriedTable, ...]
    taken_at: datetime

    @property
    def rows(self) -> Mapping[str, int]:
        """The number of rows by table."""
        return {table.label: table.rows for table in self.tables}

    def to_evidence(self) -> dict[str, Any]:
        """The inventory as JSON."""
        return {"taken_at": self.taken_at.isoformat(), "tables": [asdict(table) for table in self.tables]}


def read(connection: Connection, roots: Sequence[str] | None = None) -> Inventory:
    """The tables around `roots` (default: topics and atoms), as this connection sees them (strategy §2.1).

    Raises `PreconditionError` when topics or atoms is missing, `MigrationError` when a table may not be read.
    """
    moment = connection.execute(statement("foundation/fingerprint_moment")).fetchone()
    assert moment is not None  # a SELECT without FROM has one row
    closure = _closure(connection, roots)
    oids = {"oids": [row["oid"] for row in closure]}
    labels = {row["oid"]: label(row["schema"], row["name"]) for row in closure}
    columns = connection.execute(statement("foundation/inventory_columns"), oids).fetchall()
    keys = connection.execute(statement("foundation/inventory_foreign_keys"), oids).fetchall()
    tables = [
        _measured(
            connection,
            row,
            [column for column in columns if column["oid"] == row["oid"]],
            tuple(_foreign_key(key, labels) for key in keys if key["oid"] == row["oid"]),
        )
        for row in closure
    ]
    return Inventory(_parents_first(tables), moment["taken_at"])


def _closure(connection: Connection, roots: Sequence[str] | None) -> list[DictRow]:
    entities = [kind.table for kind in KINDS]
    rows = connection.execute(
        statement("foundation/inventory_tables"),
        {"roots": list(roots or entities), "own_schema": OWN_SCHEMA, "own_tables": list(OWN_TABLES)},
    ).fetchall()
    missing = sorted(set(entities) - {row["name"] for row in rows})
    if missing:
        raise PreconditionError(
            f"Database {connection.info.dbname} has no table {' and no table '.join(missing)} in the search path of "
            f"{connection.info.user}. Check that KNOWLEDGE_MIGRATION_DATABASE_URL names the application's database, "
            "and that this user's search_path contains its schema."
        )
    return rows


def _foreign_key(row: DictRow, labels: Mapping[int, str]) -> ForeignKey:
    return ForeignKey(
        name=row["name"],
        table=labels[row["oid"]],
        columns=tuple(row["columns"]),
        referenced=labels[row["referenced_oid"]],
        referenced_columns=tuple(row["referenced_columns"]),
        validated=row["validated"],
        on_delete=row["on_delete"],
    )


def _measured(
    connection: Connection, row: DictRow, columns: list[DictRow], foreign_keys: tuple[ForeignKey, ...]
) -> InventoriedTable:
    has_ids = any(column["name"] == "id" and column["is_integer"] for column in columns)
    ids = _one(connection, "foundation/inventory_ids", row) if has_ids else {"lowest_id": None, "highest_id": None}
    return InventoriedTable(
        **{name: value for name, value in row.items() if name != "oid"},
        **_one(connection, "foundation/inventory_rows", row),
        **ids,
        columns=tuple(Column(column["name"], column["type"]) for column in columns),
        foreign_keys=foreign_keys,
    )


def _one(connection: Connection, name: str, table: DictRow) -> DictRow:
    identifier = sql.Identifier(table["schema"], table["name"])
    with reading(connection, label(table["schema"], table["name"])):
        row = connection.execute(statement(name, table=identifier)).fetchone()
    assert row is not None  # an aggregate without GROUP BY has one row
    return row


def _parents_first(tables: list[InventoriedTable]) -> tuple[InventoriedTable, ...]:
    """Referenced tables first; in a cycle of references, the table with the fewest remaining parents first."""
    ordered: list[InventoriedTable] = []
    waiting = sorted(tables, key=lambda table: table.label)
    while waiting:
        labels = {table.label for table in waiting}
        following = min(waiting, key=lambda table: len(table.parents & labels))
        ordered.append(following)
        waiting.remove(following)
    return tuple(ordered)
