"""How the server executes a statement: its plan, in words, and which tables it reads row by row from end to end.

A statement is executed once more for it (EXPLAIN ANALYZE): only ever a SELECT. Parameters are known to the planner
here; the times are measured as the service runs the statements, prepared after the fifth time.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from psycopg import sql

from knowledge_migration.engine.foundation.errors import VerificationError
from knowledge_migration.engine.foundation.sql_files import statement, text_of
from knowledge_migration.engine.validation.performance.queries import SentStatement, is_timeout

COMMENTS = re.compile(r"\A(\s*--[^\n]*\n|\s*/\*.*?\*/)*\s*", re.DOTALL)
LEFT_OUT = ("Output",)
"""What VERBOSE adds beside the schema: the columns of each node, which nobody reads."""


@dataclass(frozen=True)
class Plan:
    """One statement's plan as PostgreSQL tells it; not `executed` where that met the timeout."""

    text: str
    tree: dict[str, Any]
    executed: bool

    @property
    def words(self) -> str:
        """The plan as text, a node a line."""
        return "\n".join(_lines(self.tree["Plan"], 0))


@dataclass(frozen=True)
class SequentialScan:
    """A table that a statement reads from end to end, with how many rows it has (or was seen to read)."""

    table: str
    rows: int


def explain(connection: sa.Connection, sent: SentStatement) -> Plan:
    """The plan of a SELECT, executed once; raises `VerificationError` for any other statement, or when it is locked out."""
    body = COMMENTS.sub("", sent.text)
    if body[:6].upper() != "SELECT":
        raise VerificationError(f"This statement is no SELECT, so it is not executed to see its plan: {body[:100]}")
    for how in ("explain_analyze", "explain"):
        try:
            return Plan(body, _tree(connection, how, body, sent), executed=how == "explain_analyze")
        except sa.exc.OperationalError as error:
            if not is_timeout(error):
                raise
    raise VerificationError(
        "The plan of a list query could not be had in time: somebody holds a lock that excludes readers of its tables, a "
        "schema change perhaps. Wait for its end, then measure again."
    )


def _tree(connection: sa.Connection, how: str, body: str, sent: SentStatement) -> dict[str, Any]:
    text = statement(f"performance/{how}", query=sql.SQL(body)).as_string(None)
    told = connection.exec_driver_sql(text, sent.parameters).scalar_one()
    (tree,) = json.loads(told) if isinstance(told, str) else told
    shortened: dict[str, Any] = _shortened(tree)
    return shortened


def _shortened(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _shortened(item) for key, item in value.items() if key not in LEFT_OUT}
    return [_shortened(item) for item in value] if isinstance(value, list) else value


def sequential_scans(connection: sa.Connection, plans: Sequence[Plan], large_rows: int) -> list[SequentialScan]:
    """The large tables that these plans read whole, each once; by the statistics, or by what was really read.

    A table that was never analyzed has no statistics: what the scan read is known all the same.
    """
    read: dict[str, int] = {}
    for plan in plans:
        for node in _nodes(plan.tree["Plan"]):
            if node["Node Type"] == "Seq Scan" and node.get("Actual Loops") != 0:
                table = f"{node['Schema']}.{node['Relation Name']}"
                read[table] = max(read.get(table, 0), _rows_read(node))
    found = connection.exec_driver_sql(text_of("performance/benchmark_table_rows"), {"tables": list(read)})
    counted = {row.name: max(row.rows, read[row.name]) for row in found}
    return [SequentialScan(table, rows) for table, rows in sorted(counted.items()) if rows >= large_rows]


def _rows_read(node: dict[str, Any]) -> int:
    """Once through, by all processes of a parallel scan together; 0 where it was not executed."""
    each = float(node.get("Actual Rows", 0)) + float(node.get("Rows Removed by Filter", 0))
    return round(each * (node.get("Actual Loops", 1) if node.get("Parallel Aware") else 1))


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


def _lines(node: dict[str, Any], depth: int) -> Iterator[str]:
    over = " ".join(
        f"{word} {node[key]}" for word, key in (("using", "Index Name"), ("on", "Relation Name")) if key in node
    )
    seen = (
        f"rows {node['Actual Rows']:g} x {node['Actual Loops']:g}, {node['Actual Total Time']:.2f} ms"
        if "Actual Rows" in node
        else f"about {node['Plan Rows']} rows, not executed"
    )
    pages = sum(node.get(f"Shared {where} Blocks", 0) for where in ("Hit", "Read"))
    yield f"{'  ' * depth}{node['Node Type']} {over}".rstrip() + f" ({seen}, {pages} pages)"
    for child in node.get("Plans", ()):
        yield from _lines(child, depth + 1)
