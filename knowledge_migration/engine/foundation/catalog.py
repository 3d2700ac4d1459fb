"""Compares a database with the declaration in `knowledge.tables`: what is missing, different, or not valid.

Reads the catalog through SQLAlchemy's inspector; validity of indexes and constraints, which it does not tell, comes
from `sql/reports/catalog_validity.sql`. Objects beyond the declaration are the user's own and are left alone.
Of the legacy tables only what the migration relies on must be equal; of its own everything must be: types, defaults,
the words of each check, the order and condition of each index, and what a reference does on DELETE.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.knowledge import tables

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]

_INTEGERS = {"INTEGER", "BIGINT"}

States = dict[tuple[str, str], str]


@dataclass(frozen=True)
class Difference:
    """One point in which the database is not as declared. A tolerated one is told, but stops nothing."""

    object: str
    expected: str
    found: str
    tolerated: bool = False


def legacy_differences(database: Database) -> list[Difference]:
    """How the database differs from the legacy schema that the migration starts from (shared tables only)."""
    declared = tables.legacy.sorted_tables
    with database.engine() as engine:
        inspector = sa.inspect(engine)
        differences = [difference for table in declared for difference in _table(inspector, table, legacy=True)]
        states = _states(engine, [table.name for table in declared])
    unique = {(table.name, str(index.name)) for table in declared for index in table.indexes if index.unique}
    return differences + _invalid(states, unique & states.keys())


def proposal_differences(database: Database) -> list[Difference]:
    """How the database differs from what the schema phase promises: all there, indexes valid, constraints validated."""
    declared = tables.proposals.sorted_tables
    with database.engine() as engine:
        inspector = sa.inspect(engine)
        found = [diff for table in declared for diff in _table(inspector, table, legacy=False)]
        for table, columns in tables.LINK_COLUMNS.items():
            found += _columns(inspector, table, columns, legacy=False)
        for table, index in tables.LINK_INDEXES.items():
            found += _indexes(inspector, table, [index], legacy=False)
        found += _references(inspector)
        states = _states(engine, [*(table.name for table in declared), *tables.LINK_INDEXES])
    return found + _invalid(states, _ours(states))


def _table(inspector: sa.Inspector, table: sa.Table, *, legacy: bool) -> Iterable[Difference]:
    if not inspector.has_table(table.name):
        return [Difference(f"table {table.name}", "present", "missing")]
    return [
        *_columns(inspector, table.name, table.columns, legacy=legacy),
        *_primary_key(inspector, table),
        *_indexes(inspector, table.name, table.indexes, legacy=legacy),
        *_checks(inspector, table),
        *_foreign_keys(inspector, table, tolerated=legacy),
    ]


def _columns(
    inspector: sa.Inspector, table: str, columns: Iterable[sa.Column[Any]], *, legacy: bool
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
            differences.append(Difference(name, expected, present, legacy and _tolerable(column.type, have["type"])))
        if bool(column.nullable) != have["nullable"]:
            wanted, seen = _nullness(bool(column.nullable)), _nullness(have["nullable"])
            differences.append(Difference(name, wanted, seen, tolerated=legacy and bool(column.nullable)))
        if not legacy:
            differences += _default(name, column, have["default"])
    return differences


def _default(name: str, column: sa.Column[Any], found: str | None) -> list[Difference]:
    declared = column.server_default
    argument = declared.arg if isinstance(declared, sa.DefaultClause) else None
    expected = f"'{argument}'" if isinstance(argument, str) else str(argument) if argument is not None else ""
    if _words(expected) == _words(found or ""):
        return []
    return [Difference(f"default of {name}", expected or "none", found or "none")]


def _type(declared: sa.types.TypeEngine[Any]) -> str:
    """The type as the database spells it; an enum with its labels, in order."""
    if isinstance(declared, sa.types.NullType):
        return "a type that is not known here"
    if isinstance(declared, sa.Enum):
        return f"{declared.name} ({', '.join(declared.enums)})"
    return str(declared.compile(dialect=_DIALECT)).upper()


def _tolerable(expected: sa.types.TypeEngine[Any], present: sa.types.TypeEngine[Any]) -> bool:
    """Integer keys of the other width, texts with another limit (rows decide then, one by one), an enum with more labels."""
    if isinstance(expected, sa.Enum) and isinstance(present, sa.Enum):
        return set(expected.enums) <= set(present.enums)
    words, texts = (_type(expected), _type(present)), ("VARCHAR", "TEXT")
    return set(words) <= _INTEGERS or all(word.startswith(texts) for word in words)


def _words(expression: str) -> list[str]:
    """An expression as its words, so that PostgreSQL's spelling (casts, brackets, = ANY (ARRAY…)) equals ours."""
    plain = re.sub(r"::(character varying|double precision|\w+)(\[\])?", "", expression)
    plain = re.sub(r"= ANY \(+ARRAY", "IN ", plain)
    return re.findall(r"'[^']*'|[\w.]+|[<>=!]+", plain)


def _nullness(nullable: bool) -> str:
    return "NULL allowed" if nullable else "NOT NULL"


def _primary_key(inspector: sa.Inspector, table: sa.Table) -> list[Difference]:
    expected = [column.name for column in table.primary_key.columns]
    found = inspector.get_pk_constraint(table.name)["constrained_columns"]
    if expected == found:
        return []
    return [Difference(f"primary key of {table.name}", ", ".join(expected), ", ".join(found) or "missing")]


def _indexes(inspector: sa.Inspector, table: str, indexes: Iterable[sa.Index], *, legacy: bool) -> list[Difference]:
    """Index by name; a legacy one is only needed for speed unless it is unique, and then its name does not matter."""
    found = {str(index["name"]): _found_index(dict(index)) for index in inspector.get_indexes(table)}
    differences = []
    for index in sorted(indexes, key=lambda index: str(index.name)):
        expected, present = _declared_index(index), found.get(str(index.name), "missing")
        if expected == present:
            continue
        namesake = next((name for name, words in found.items() if legacy and words == expected), None)
        shown = f"{expected}, named {namesake}" if namesake else present
        tolerated = legacy and (not index.unique or namesake is not None)
        differences.append(Difference(f"index {index.name}", expected, shown, tolerated))
    return differences


def _declared_index(index: sa.Index) -> str:
    columns = [str(getattr(part, "name", None) or part) for part in index.expressions]
    return _index_words(bool(index.unique), columns, index.dialect_options["postgresql"]["where"])


def _found_index(index: dict[str, Any]) -> str:
    order = index.get("column_sorting", {})
    names = index["column_names"] if None not in index["column_names"] else index["expressions"]
    columns = [" ".join([name, *map(str.upper, order.get(name, ()))]) for name in names]
    return _index_words(index["unique"], columns, index["dialect_options"].get("postgresql_where"))


def _index_words(unique: bool, columns: list[str], where: object) -> str:
    condition = f" WHERE {' '.join(_words(str(where)))}" if where is not None else ""
    return f"{'unique ' if unique else ''}({', '.join(columns)}){condition}"


def _checks(inspector: sa.Inspector, table: sa.Table) -> list[Difference]:
    found = {str(check["name"]): check["sqltext"] for check in inspector.get_check_constraints(table.name)}
    differences = []
    for constraint in sorted(table.constraints, key=lambda constraint: str(constraint.name)):
        if not isinstance(constraint, sa.CheckConstraint) or not constraint.name:
            continue
        expected = str(constraint.sqltext.compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True}))
        present = found.get(str(constraint.name), "")
        if _words(expected) != _words(present):
            name = f"check {constraint.name} of {table.name}"
            differences.append(Difference(name, expected, present or "missing"))
    return differences


def _foreign_keys(inspector: sa.Inspector, table: sa.Table, *, tolerated: bool) -> list[Difference]:
    expected = {
        str(column.name): (key.column.table.name, key.ondelete or "NO ACTION")
        for column in table.columns
        for key in column.foreign_keys
    }
    return _compared_references(inspector, table.name, expected, tolerated=tolerated)


def _references(inspector: sa.Inspector) -> list[Difference]:
    """The references to and from live tables, which are added after the tables; one that is missing is not valid."""
    expected: dict[str, dict[str, tuple[str, str]]] = {}
    for key in tables.REFERENCES:
        expected.setdefault(key.table, {})[key.column] = (key.referenced, key.on_delete)
    present = [table for table in expected if inspector.has_table(table)]
    return [
        difference
        for table in present
        for difference in _compared_references(inspector, table, expected[table], tolerated=False)
        if difference.found != "missing"
    ]


def _compared_references(
    inspector: sa.Inspector, table: str, expected: dict[str, tuple[str, str]], *, tolerated: bool
) -> list[Difference]:
    found = {
        key["constrained_columns"][0]: (key["referred_table"], key["options"].get("ondelete", "NO ACTION"))
        for key in inspector.get_foreign_keys(table)
        if len(key["constrained_columns"]) == 1
    }
    return [
        Difference(
            f"foreign key {table}.{column}", _reference_words(wanted), _reference_words(found.get(column)), tolerated
        )
        for column, wanted in sorted(expected.items())
        if found.get(column) != wanted
    ]


def _reference_words(reference: tuple[str, str] | None) -> str:
    return f"references {reference[0]}, ON DELETE {reference[1]}" if reference else "missing"


def _states(engine: sa.Engine, names: Iterable[str]) -> States:
    """Of every index, check and reference of these tables whether it is valid, by table and name."""
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(text_of("foundation/catalog_validity"), {"tables": list(names)})
        return {(row.table, row.name): row.state for row in rows}


def _ours(states: States) -> set[tuple[str, str]]:
    """What must be valid: everything on the tables of the workflow, and on live tables what the phase adds there."""
    indexes = {(table, str(index.name)) for table, index in tables.LINK_INDEXES.items()}
    keys = {(key.table, key.name) for key in tables.REFERENCES}
    return keys | {key for key in states if key[0] in tables.proposals.tables or key in indexes}


def _invalid(states: States, wanted: Iterable[tuple[str, str]]) -> list[Difference]:
    """Indexes and constraints must not only be there but be usable."""
    return [
        Difference(f"{name} of {table}", "valid", states.get((table, name), "missing"))
        for table, name in sorted(wanted)
        if states.get((table, name)) != "valid"
    ]
