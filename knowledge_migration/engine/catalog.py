"""Compares a database with the declaration in `knowledge.tables`: what is missing, different, or not valid.

Reads the catalog through SQLAlchemy's inspector; validity of indexes and constraints, which it does not tell, comes
from `sql/reports/catalog_validity.sql`. Objects beyond the declaration are the user's own and are left alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from knowledge_migration.engine.database import Database
from knowledge_migration.engine.statements import text_of
from knowledge_migration.knowledge import tables

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]

_INTEGERS = {"INTEGER", "BIGINT"}


@dataclass(frozen=True)
class Difference:
    """One point in which the database is not as declared. A tolerated one is told, but stops nothing."""

    object: str
    expected: str
    found: str
    tolerated: bool = False


def legacy_differences(database: Database) -> list[Difference]:
    """How the database differs from the legacy schema that the migration starts from (shared tables only)."""
    with database.engine() as engine:
        inspector = sa.inspect(engine)
        return [
            difference for table in tables.legacy.sorted_tables for difference in _table(inspector, table, legacy=True)
        ]


def proposal_differences(database: Database) -> list[Difference]:
    """How the database differs from what the schema phase promises: all there, indexes valid, constraints validated."""
    with database.engine() as engine:
        inspector = sa.inspect(engine)
        found = [diff for table in tables.proposals.sorted_tables for diff in _table(inspector, table, legacy=False)]
        for table, columns in tables.LINK_COLUMNS.items():
            found += _columns(inspector, table, columns, legacy=False)
        with engine.connect() as connection:
            states = {row.name: row.state for row in connection.exec_driver_sql(text_of("reports/catalog_validity"))}
    return found + _validity(states)


def _table(inspector: sa.Inspector, table: sa.Table, *, legacy: bool) -> Iterable[Difference]:
    if not inspector.has_table(table.name):
        return [Difference(f"table {table.name}", "present", "missing")]
    return [
        *_columns(inspector, table.name, table.columns, legacy=legacy),
        *_primary_key(inspector, table),
        *_indexes(inspector, table, tolerated=legacy),
        *_checks(inspector, table),
        *_foreign_keys(inspector, table, tolerated=legacy),
    ]


def _columns(
    inspector: sa.Inspector, table: str, columns: Iterable[sa.Column[object]], *, legacy: bool
) -> list[Difference]:
    found = {column["name"]: column for column in inspector.get_columns(table)}
    differences = []
    for column in columns:
        name = f"column {table}.{column.name}"
        if column.name not in found:
            differences.append(Difference(name, _type(column.type), "missing"))
            continue
        have = found[column.name]
        expected, present = _type(column.type), _type(have["type"])
        if expected != present:
            differences.append(Difference(name, expected, present, legacy and _tolerable(expected, present)))
        if bool(column.nullable) != have["nullable"]:
            wanted, seen = _nullness(bool(column.nullable)), _nullness(have["nullable"])
            differences.append(Difference(name, wanted, seen, tolerated=legacy and bool(column.nullable)))
    return differences


def _type(declared: sa.types.TypeEngine[object]) -> str:
    """The type as the database spells it; an enum with its labels, in order."""
    if isinstance(declared, sa.Enum):
        return f"{declared.name} ({', '.join(declared.enums)})"
    return str(declared.compile(dialect=_DIALECT)).upper()


def _tolerable(expected: str, present: str) -> bool:
    """Integer keys of the other width, and texts without or with another limit: rows decide then, one by one."""
    texts = ("VARCHAR", "TEXT")
    return {expected, present} <= _INTEGERS or (expected.startswith(texts) and present.startswith(texts))


def _nullness(nullable: bool) -> str:
    return "NULL allowed" if nullable else "NOT NULL"


def _primary_key(inspector: sa.Inspector, table: sa.Table) -> list[Difference]:
    expected = [column.name for column in table.primary_key.columns]
    found = inspector.get_pk_constraint(table.name)["constrained_columns"]
    if expected == found:
        return []
    return [Difference(f"primary key of {table.name}", ", ".join(expected), ", ".join(found) or "missing")]


def _indexes(inspector: sa.Inspector, table: sa.Table, *, tolerated: bool) -> list[Difference]:
    """Index by name, uniqueness and columns; a legacy index is only needed for speed unless it is unique."""
    found = {index["name"]: index for index in inspector.get_indexes(table.name)}
    differences = []
    for index in sorted(table.indexes, key=lambda index: str(index.name)):
        expected = _index_words(bool(index.unique), [str(part).split(" ")[0] for part in _parts(index)])
        have = found.get(str(index.name))
        present = _index_words(bool(have["unique"]), [str(c) for c in have["column_names"]]) if have else "missing"
        if expected != present:
            differences.append(
                Difference(f"index {index.name}", expected, present, tolerated=tolerated and not index.unique)
            )
    return differences


def _parts(index: sa.Index) -> list[str]:
    return [getattr(part, "name", None) or str(part) for part in index.expressions]


def _index_words(unique: bool, columns: list[str]) -> str:
    return f"{'unique ' if unique else ''}({', '.join(columns)})"


def _checks(inspector: sa.Inspector, table: sa.Table) -> list[Difference]:
    expected = {
        str(constraint.name)
        for constraint in table.constraints
        if isinstance(constraint, sa.CheckConstraint) and constraint.name
    }
    found = {constraint["name"] for constraint in inspector.get_check_constraints(table.name)}
    return [Difference(f"check {name} of {table.name}", "present", "missing") for name in sorted(expected - found)]


def _foreign_keys(inspector: sa.Inspector, table: sa.Table, *, tolerated: bool) -> list[Difference]:
    expected = {(str(column.name), key.column.table.name) for column in table.columns for key in column.foreign_keys}
    found = {
        (column, key["referred_table"])
        for key in inspector.get_foreign_keys(table.name)
        for column in key["constrained_columns"]
    }
    return [
        Difference(f"foreign key {table.name}.{column}", f"references {referred}", "missing", tolerated=tolerated)
        for column, referred in sorted(expected - found)
    ]


def _validity(states: dict[str, str]) -> list[Difference]:
    """Indexes and references on live tables must not only be there but be usable."""
    from knowledge_migration.engine.schema_steps import STEPS

    wanted = {step.name.split(".")[-1] for step in STEPS if step.kind in ("index", "constraint")}
    return [
        Difference(name, "valid", states.get(name, "missing"))
        for name in sorted(wanted | set(states))
        if states.get(name) != "valid"
    ]
