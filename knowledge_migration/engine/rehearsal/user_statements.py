"""What users do with the tables, tried on the clone before and after the schema phase.

Each statement runs in a transaction that is rolled back. One that worked before and fails afterwards would be an outage in
production: a trigger that copies whole rows, a rule, a view, a function with a row type (strategy §2.3).
"""

from collections.abc import Iterator, Mapping

import psycopg
from psycopg import sql

from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.errors import VerificationError
from knowledge_migration.engine.foundation.explanation import reason_of
from knowledge_migration.engine.foundation.own_objects import OWN_SCHEMA
from knowledge_migration.engine.foundation.sql_files import CatalogText, statement, text_of
from knowledge_migration.knowledge.entity_kinds import KINDS, EntityKind

OPERATIONS = ("insert", "update", "delete")
TRIED_ROWS = 3
SQLSTATE = 5
"""Characters of an SQLSTATE."""

Parameters = Mapping[str, object]
Results = Mapping[str, str]
"""What was tried, and the server's SQLSTATE and message; empty where it works."""


def tried(connection: Connection) -> Results:
    """Tries what users do: see `_attempts`."""
    tables = {"tables": [f"public.{kind.table}" for kind in KINDS], "own_schema": OWN_SCHEMA}
    return {what: _try(connection, query, values) for what, query, values in _attempts(connection, tables)}


def _attempts(connection: Connection, tables: Parameters) -> Iterator[tuple[str, sql.Composed, Parameters]]:
    """Writes of some rows of topics and atoms and of a row of each other table with triggers; a query of each view over topics
    and atoms; each function that uses them: its definition if it is in SQL, and a call if it returns rows or takes one."""
    for kind in KINDS:
        rows = connection.execute(
            statement("rehearsal/tried_rows", table=f"public.{kind.table}", rows=sql.Literal(TRIED_ROWS))
        )
        for place, row in enumerate(rows.fetchall(), start=1):
            for operation in OPERATIONS:
                yield f"{operation} of a row of {kind.table} ({place})", _operation(connection, kind, operation), row
    for view in connection.execute(text_of("rehearsal/views"), tables).fetchall():
        query = sql.SQL("SELECT * FROM {} LIMIT 1").format(CatalogText(view["name"]))
        yield f"query of the view {view['name']}", query, {}
    for table in connection.execute(text_of("rehearsal/triggered_tables"), tables).fetchall():
        names = {name: CatalogText(text) for name, text in table.items()}
        for operation in OPERATIONS:
            yield f"{operation} of a row of {table['table']}", statement(f"rehearsal/rewrite_{operation}", **names), {}
    for function in connection.execute(text_of("rehearsal/functions"), tables).fetchall():
        for what in ("definition", "call"):
            if function[what]:
                yield f"{what} of the function {function['name']}", sql.Composed([CatalogText(function[what])]), {}


def refuse_outages(before: Results, after: Results) -> None:
    """Raises `VerificationError` naming each statement that works before the schema phase, or fails otherwise, and fails after.

    A delete of a row that others reference fails before, too; a trigger fails it earlier, with another SQLSTATE.
    """
    broken = [
        f"{what}: {message}"
        for what, message in after.items()
        if message and what in before and message[:SQLSTATE] != before[what][:SQLSTATE]
    ]
    if broken:
        raise VerificationError(
            f"On the clone, statements of users fail after the schema phase adds its columns: {'; '.join(broken)}. Adapt the "
            "triggers, rules and functions named by the server to tables with more columns (name the columns instead of `.*`); "
            "production was not changed."
        )


def _operation(connection: Connection, kind: EntityKind, operation: str) -> sql.Composed:
    columns = connection.execute(text_of("rehearsal/copied_columns"), {"table": f"public.{kind.table}"})
    others = [row["name"] for row in columns if row["name"] != kind.label]
    names: dict[str, str | sql.Composable] = {
        "table": f"public.{kind.table}",
        "label": sql.Identifier(kind.label),
        "others": sql.SQL(", ").join(map(sql.Identifier, others)),
    }
    return statement(f"rehearsal/try_{operation}", **names)


def _try(connection: Connection, query: sql.Composed, parameters: Parameters) -> str:
    """The server's SQLSTATE and message; empty where the statement works."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(text_of("rehearsal/try_settings"))
            connection.execute(query, parameters)
    except psycopg.Error as error:
        where = (error.diag.context or "").partition("\n")[0]
        return f"{error.sqlstate or '':{SQLSTATE}} {reason_of(error)}{f' ({where})' if where else ''}"
    return ""
