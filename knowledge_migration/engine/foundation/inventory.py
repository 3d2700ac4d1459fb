"""What is around topics and atoms: the counts of the strategy's §2.1, and whatever foreign keys reach.

The tables are found in pg_constraint, in both directions and through any number of steps, so that a table of the user's
own that references topics is there too; the migration's tables never are. Reads only; under a snapshot's connection the
counts are those of the backup.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from psycopg import sql
from psycopg.rows import DictRow

from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.foundation.sql_files import statement
from knowledge_migration.engine.foundation.user_tables import OWN_SCHEMA, OWN_TABLES, Column, label, reading
from knowledge_migration.knowledge.entity_kinds import KINDS

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ForeignKey:
    """A foreign key between two tables of the inventory; `on_delete` in SQL's own words ("NO ACTION")."""

    name: str
    table: str
    columns: tuple[str, ...]
    referenced: str
    referenced_columns: tuple[str, ...]
    validated: bool
    on_delete: str


@dataclass(frozen=True)
class InventoriedTable:
    """One table: its exact rows, its sizes (`heap_bytes` counts TOAST in), its ids where it has an integer `id`."""

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
        """The name under which reports show it."""
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

    def as_frame(self) -> "pd.DataFrame":
        """One line a table, for a report."""
        import pandas as pd  # half a second to import: only where a table is shown

        frame = pd.DataFrame([_report_line(table) for table in self.tables])
        return frame.astype({"lowest_id": "Int64", "highest_id": "Int64"})  # whole numbers, though some are absent

    def to_evidence(self) -> dict[str, Any]:
        """All of it as JSON."""
        return {"taken_at": self.taken_at.isoformat(), "tables": [asdict(table) for table in self.tables]}


def read(connection: Connection, roots: Sequence[str] | None = None) -> Inventory:
    """The inventory as this connection sees the database now (strategy §2.1): what is around topics and atoms, or `roots`.

    Raises `PreconditionError` when topics or atoms is not there, `MigrationError` when a table may not be read.
    """
    moment = connection.execute(statement("foundation/fingerprint_moment")).fetchone()
    assert moment is not None  # a SELECT without FROM has one row
    found = _closure(connection, roots)
    oids = {"oids": [row["oid"] for row in found]}
    labels = {row["oid"]: label(row["schema"], row["name"]) for row in found}
    columns = connection.execute(statement("foundation/inventory_columns"), oids).fetchall()
    keys = connection.execute(statement("foundation/inventory_foreign_keys"), oids).fetchall()
    references = [(key["oid"], _foreign_key(key, labels)) for key in keys]
    tables = [
        _measured(
            connection,
            row,
            [column for column in columns if column["oid"] == row["oid"]],
            tuple(reference for oid, reference in references if oid == row["oid"]),
        )
        for row in found
    ]
    return Inventory(_parents_first(tables), moment["taken_at"])


def _closure(connection: Connection, roots: Sequence[str] | None) -> list[DictRow]:
    entities = [kind.table for kind in KINDS]
    found = connection.execute(
        statement("foundation/inventory_tables"),
        {"roots": list(roots or entities), "own_schema": OWN_SCHEMA, "own_tables": list(OWN_TABLES)},
    ).fetchall()
    missing = sorted(set(entities) - {row["name"] for row in found})
    if missing:
        raise PreconditionError(
            f"Database {connection.info.dbname} has no table {' and no table '.join(missing)} in the search path of "
            f"{connection.info.user}. Check that KNOWLEDGE_MIGRATION_DATABASE_URL names the application's database, "
            "and that this user's search_path holds its schema."
        )
    return found


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
    rows = _one(connection, "foundation/inventory_rows", row)
    ids = _one(connection, "foundation/inventory_ids", row) if has_ids else {"lowest_id": None, "highest_id": None}
    return InventoriedTable(
        schema=row["schema"],
        name=row["name"],
        rows=rows["rows"],
        heap_bytes=row["heap_bytes"],
        index_bytes=row["index_bytes"],
        total_bytes=row["total_bytes"],
        lowest_id=ids["lowest_id"],
        highest_id=ids["highest_id"],
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
    """A referenced table before those that reference it; where they reference each other, the least bound first."""
    ordered: list[InventoriedTable] = []
    waiting = sorted(tables, key=lambda table: table.label)
    while waiting:
        labels = {table.label for table in waiting}
        following = min(waiting, key=lambda table: len(table.parents & labels))
        ordered.append(following)
        waiting.remove(following)
    return tuple(ordered)


def _report_line(table: InventoriedTable) -> dict[str, object]:
    return {
        "table": table.label,
        "rows": table.rows,
        "lowest_id": table.lowest_id,
        "highest_id": table.highest_id,
        "heap_bytes": table.heap_bytes,
        "index_bytes": table.index_bytes,
        "total_bytes": table.total_bytes,
        "columns": len(table.columns),
        "references": ", ".join(f"{', '.join(key.columns)} → {key.referenced}" for key in table.foreign_keys),
    }
