"""Compares a database with the declaration in `knowledge.tables`; objects beyond the declaration are ignored.

The legacy tables may differ where the migration does not rely on them. Its own tables must equal the declaration in
types, defaults, checks, indexes (valid), references (validated) and their ON DELETE actions.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine.reflection import ObjectKind, ObjectScope

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.foundation.own_objects import OWN_SCHEMA
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.knowledge import tables

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]
_INTEGERS = {"INTEGER", "BIGINT"}

States = dict[tuple[str, str], str]


@dataclass(frozen=True)
class Difference:
    """One difference of the database from the declaration. A tolerated difference is reported but blocks nothing."""

    object: str
    expected: str
    actual: str
    tolerated: bool = False


@dataclass(frozen=True)
class _Reflected:
    """The catalog's description of some tables, by name: a few queries however many tables, since each costs its planning."""

    columns: Mapping[str, Any]
    primary_keys: Mapping[str, Any]
    indexes: Mapping[str, Any]
    checks: Mapping[str, Any]
    references: Mapping[str, Any]


def legacy_differences(database: Database) -> list[Difference]:
    """How the database differs from the legacy schema that the migration starts from (shared tables only)."""
    declared = tables.legacy.sorted_tables
    with database.engine() as engine, engine.connect() as connection:
        reflected = _reflected(connection, [table.name for table in declared])
        differences = [difference for table in declared for difference in _table(reflected, table, legacy=True)]
        states = _states(connection, [table.name for table in declared])
    unique = {(table.name, str(index.name)) for table in declared for index in table.indexes if index.unique}
    return differences + _invalid(states, unique & states.keys())


def proposal_differences(database: Database) -> list[Difference]:
    """How the database differs from the result of the schema phase: objects, valid indexes, validated constraints."""
    declared = tables.proposals.sorted_tables
    with database.engine() as engine, engine.connect() as connection:
        names = [table.name for table in declared]
        changed = (*tables.LINK_COLUMNS, *tables.LINK_INDEXES, *(key.table for key in tables.REFERENCES))
        reflected = _reflected(connection, (*names, *changed))
        differences = [difference for table in declared for difference in _table(reflected, table, legacy=False)]
        for name, columns in tables.LINK_COLUMNS.items():
            differences += _columns(reflected, name, columns, legacy=False)
        for name, index in tables.LINK_INDEXES.items():
            differences += _indexes(reflected, name, [index], legacy=False)
        differences += _added_references(reflected)
        states = _states(connection, [*names, *tables.LINK_INDEXES])
        has_objects = sa.inspect(connection).has_table("schema_object", OWN_SCHEMA)
        triggers = _capture_triggers(connection) if has_objects else {}
    return differences + _invalid(states, _own_objects(states)) + _invalid(triggers, triggers)


def require_proposal_schema(database: Database) -> None:
    """Raises `PreconditionError` when the schema is not as phase 1 leaves it."""
    differences = proposal_differences(database)
    if differences:
        raise PreconditionError(
            f"The schema is not as phase 1 leaves it ({len(differences)} differences, first: {differences[0].object} is "
            f"{differences[0].actual}). Run phase 1 (job phase_1_schema) first."
        )


def _reflected(connection: sa.Connection, names: Iterable[str]) -> _Reflected:
    inspector, wanted = sa.inspect(connection), sorted(set(names))
    return _Reflected(
        *(
            {name: value for (_, name), value in read(None, wanted, ObjectKind.ANY, ObjectScope.ANY).items()}
            for read in (
                inspector.get_multi_columns,
                inspector.get_multi_pk_constraint,
                inspector.get_multi_indexes,
                inspector.get_multi_check_constraints,
                inspector.get_multi_foreign_keys,
            )
        )
    )


def _table(reflected: _Reflected, table: sa.Table, *, legacy: bool) -> Iterable[Difference]:
    if table.name not in reflected.columns:
        return [Difference(f"table {table.name}", "present", "missing")]
    references = {
        str(column.name): (key.column.table.name, key.ondelete or "NO ACTION")
        for column in table.columns
        for key in column.foreign_keys
    }
    return [
        *_columns(reflected, table.name, table.columns, legacy=legacy),
        *_primary_key(reflected, table),
        *_indexes(reflected, table.name, table.indexes, legacy=legacy),
        *_checks(reflected, table),
        *_references(reflected, table.name, references, tolerated=legacy),
    ]


def _columns(
    reflected: _Reflected, table: str, columns: Iterable[sa.Column[Any]], *, legacy: bool
) -> Iterable[Difference]:
    present = {column["name"]: column for column in reflected.columns.get(table, ())}
    for column in columns:
        name, expected = f"column {table}.{column.name}", _type(column.type)
        if column.name not in present:
            yield Difference(name, expected, "missing")
            continue
        existing = present[column.name]
        actual = _type(existing["type"])
        if expected != actual:
            yield Difference(name, expected, actual, legacy and _tolerable(column.type, existing["type"]))
        if bool(column.nullable) != existing["nullable"]:
            names = {True: "NULL allowed", False: "NOT NULL"}
            tolerated = legacy and bool(column.nullable)
            yield Difference(name, names[bool(column.nullable)], names[existing["nullable"]], tolerated)
        if not legacy:
            yield from _default(name, column, existing["default"])


def _default(name: str, column: sa.Column[Any], actual: str | None) -> Iterable[Difference]:
    declared = column.server_default
    argument = declared.arg if isinstance(declared, sa.DefaultClause) else None
    expected = f"'{argument}'" if isinstance(argument, str) else str(argument) if argument is not None else ""
    if _tokens(expected) != _tokens(actual or ""):
        yield Difference(f"default of {name}", expected or "none", actual or "none")


def _type(declared: sa.types.TypeEngine[Any]) -> str:
    """The type as the database spells it; an enum with its labels, in order."""
    if isinstance(declared, sa.types.NullType):
        return "a type that is not known here"
    if isinstance(declared, sa.Enum):
        return f"{declared.name} ({', '.join(declared.enums)})"
    return str(declared.compile(dialect=_DIALECT)).upper()


def _tolerable(expected: sa.types.TypeEngine[Any], actual: sa.types.TypeEngine[Any]) -> bool:
    """Integer keys of the other width, texts with another limit (the backfill checks each row), an enum with more labels."""
    if isinstance(expected, sa.Enum) and isinstance(actual, sa.Enum):
        return set(expected.enums) <= set(actual.enums)
    types = (_type(expected), _type(actual))
    return set(types) <= _INTEGERS or all(name.startswith(("VARCHAR", "TEXT")) for name in types)


def _tokens(expression: str) -> list[str]:
    """The tokens of an expression, so that PostgreSQL's spelling (casts, parentheses, = ANY (ARRAY…)) equals ours."""
    plain = re.sub(r"::(character varying|double precision|\w+)(\[\])?", "", expression)
    plain = re.sub(r"= ANY \(+ARRAY", "IN ", plain)
    return re.findall(r"'[^']*'|[\w.]+|[<>=!]+", plain)


def _primary_key(reflected: _Reflected, table: sa.Table) -> Iterable[Difference]:
    expected = [column.name for column in table.primary_key.columns]
    actual = reflected.primary_keys[table.name]["constrained_columns"]
    if expected != actual:
        yield Difference(f"primary key of {table.name}", ", ".join(expected), ", ".join(actual) or "missing")


def _indexes(reflected: _Reflected, table: str, indexes: Iterable[sa.Index], *, legacy: bool) -> Iterable[Difference]:
    """Compares indexes by name; a legacy index matters only if it is unique, and its name does not matter then."""
    present = {str(index["name"]): _reflected_index(dict(index)) for index in reflected.indexes.get(table, ())}
    for index in sorted(indexes, key=lambda index: str(index.name)):
        columns = [str(getattr(part, "name", None) or part) for part in index.expressions]
        expected = _index_text(bool(index.unique), columns, index.dialect_options["postgresql"]["where"])
        actual = present.get(str(index.name), "missing")
        if expected == actual:
            continue
        equal = next((name for name, text in present.items() if legacy and text == expected), None)
        shown = f"{expected}, named {equal}" if equal else actual
        yield Difference(f"index {index.name}", expected, shown, legacy and (not index.unique or equal is not None))


def _reflected_index(index: dict[str, Any]) -> str:
    order = index.get("column_sorting", {})
    names = index["column_names"] if None not in index["column_names"] else index["expressions"]
    columns = [" ".join([name, *map(str.upper, order.get(name, ()))]) for name in names]
    return _index_text(index["unique"], columns, index["dialect_options"].get("postgresql_where"))


def _index_text(unique: bool, columns: list[str], where: object) -> str:
    condition = f" WHERE {' '.join(_tokens(str(where)))}" if where is not None else ""
    return f"{'unique ' if unique else ''}({', '.join(columns)}){condition}"


def _checks(reflected: _Reflected, table: sa.Table) -> Iterable[Difference]:
    present = {str(check["name"]): check["sqltext"] for check in reflected.checks.get(table.name, ())}
    for constraint in sorted(table.constraints, key=lambda constraint: str(constraint.name)):
        if not isinstance(constraint, sa.CheckConstraint) or not constraint.name:
            continue
        expected = str(constraint.sqltext.compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True}))
        actual = present.get(str(constraint.name), "")
        if _tokens(expected) != _tokens(actual):
            yield Difference(f"check {constraint.name} of {table.name}", expected, actual or "missing")


def _added_references(reflected: _Reflected) -> Iterable[Difference]:
    """The references that are added after the tables; a missing one is reported as not valid."""
    for table in {key.table: None for key in tables.REFERENCES if key.table in reflected.columns}:
        expected = {key.column: (key.referenced, key.on_delete) for key in tables.REFERENCES if key.table == table}
        for difference in _references(reflected, table, expected, tolerated=False):
            if difference.actual != "missing":
                yield difference


def _references(
    reflected: _Reflected, table: str, expected: Mapping[str, tuple[str, str]], *, tolerated: bool
) -> Iterable[Difference]:
    present = {
        key["constrained_columns"][0]: (key["referred_table"], key["options"].get("ondelete", "NO ACTION"))
        for key in reflected.references.get(table, ())
        if len(key["constrained_columns"]) == 1
    }
    for column, reference in sorted(expected.items()):
        if present.get(column) != reference:
            expected_text, actual_text = (
                f"references {pair[0]}, ON DELETE {pair[1]}" if pair else "missing"
                for pair in (reference, present.get(column))
            )
            yield Difference(f"foreign key {table}.{column}", expected_text, actual_text, tolerated)


def _states(connection: sa.Connection, names: Iterable[str]) -> States:
    """Whether each index, check and reference of these tables is valid, by table and name."""
    rows = connection.exec_driver_sql(text_of("foundation/catalog_validity"), {"tables": list(names)})
    return {(row.table, row.name): row.state for row in rows}


def _capture_triggers(connection: sa.Connection) -> States:
    """Whether each trigger of the capture is enabled; none where the capture is not installed."""
    return {
        (row.table, row.name): row.state for row in connection.exec_driver_sql(text_of("foundation/capture_triggers"))
    }


def _own_objects(states: States) -> set[tuple[str, str]]:
    """The objects that must be valid: all on the tables of the workflow, and those that the phase adds to live tables."""
    indexes = {(table, str(index.name)) for table, index in tables.LINK_INDEXES.items()}
    keys = {(key.table, key.name) for key in tables.REFERENCES}
    triggers = {
        ("migration.audit_log", "audit_log_is_append_only"),
        ("feature_flags", "every_flag_change_has_a_version"),
    }
    return keys | triggers | {key for key in states if key[0] in tables.proposals.tables or key in indexes}


def _invalid(states: States, required: Iterable[tuple[str, str]]) -> list[Difference]:
    return [
        Difference(f"{name} of {table}", "valid", states.get((table, name), "missing"))
        for table, name in sorted(required)
        if states.get((table, name)) != "valid"
    ]
