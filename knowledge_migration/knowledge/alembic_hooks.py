"""For the Alembic environment of an application: `include_object` leaves the objects of the migration out of comparisons.

After phase 5 `adopt` declares them in the application's own metadata. Neither changes a database.
"""

from typing import Any

import sqlalchemy as sa

from knowledge_migration.knowledge.tables import LINK_COLUMNS, LINK_INDEXES, REFERENCES, evidence, proposals

OURS: dict[str, frozenset[tuple[str, str]]] = {
    "column": frozenset((table, column.name) for table, columns in LINK_COLUMNS.items() for column in columns),
    "index": frozenset((table, str(index.name)) for table, index in LINK_INDEXES.items()),
    "foreign_key_constraint": frozenset((one.table, one.name) for one in REFERENCES),
}
"""What phase 1 adds to tables of the application, as (table, name)."""


def include_object(
    item: sa.schema.SchemaItem, name: str | None, type_: str, reflected: bool, compare_to: object | None
) -> bool:
    """Whether Alembic compares an object: false for what only the migration has created, until the application declares it."""
    if not reflected or compare_to is not None:
        return True
    table: Any = item if isinstance(item, sa.Table) else getattr(item, "table", None)
    if table is None:
        return True
    if table.schema == evidence.schema or (table.name in proposals.tables and table.schema in (None, "public")):
        return False
    return (table.name, name) not in OURS.get(type_, ())


def adopt(metadata: sa.MetaData) -> None:
    """Declares the proposal tables, and the new columns, indexes and references of the application's tables, in its metadata."""
    for table in proposals.tables.values():
        table.to_metadata(metadata)
    for name, columns in LINK_COLUMNS.items():
        for column in columns:
            metadata.tables[name].append_column(sa.Column(column.name, column.type))
    for name, index in LINK_INDEXES.items():
        on = [metadata.tables[name].c[str(expression)] for expression in index.expressions]
        sa.Index(index.name, *on, unique=index.unique, **index.dialect_kwargs)
    for one in REFERENCES:
        ondelete = None if one.on_delete == "NO ACTION" else one.on_delete
        metadata.tables[one.table].append_constraint(
            sa.ForeignKeyConstraint(
                [one.column], [f"{one.referenced}.id"], name=one.name, ondelete=ondelete, use_alter=True
            )
        )
