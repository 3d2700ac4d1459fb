"""The plan of a statement as text, and the tables that it scans sequentially.

EXPLAIN ANALYZE executes the statement once more, so only a SELECT is accepted. The planner sees the parameters here; the
latencies are measured with prepared statements, as the service runs them.
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
LEFT_OUT = ("Output",)  # VERBOSE adds the columns of each node; only its schema is needed


@dataclass(frozen=True)
class Plan:
    """The plan of one statement; not `executed` if that met the timeout."""

    text: str
    tree: dict[str, Any]
    executed: bool

    @property
    def as_text(self) -> str:
        """The plan as text, one node per line."""
        return "\n".join(_lines(self.tree["Plan"], 0))


@dataclass(frozen=True)
class SequentialScan:
    """A table that a statement scans sequentially, and its rows (by the statistics, or as read)."""

    table: str
    rows: int


def explain(connection: sa.Connection, sent: SentStatement) -> Plan:
    """The plan of a SELECT, executed once; raises `VerificationError` for another statement, or when a lock blocks it."""
    body = COMMENTS.sub("", sent.text)
    if body[:6].upper() != "SELECT":
        raise VerificationError(f"This statement is no SELECT, so it is not executed for its plan: {body[:100]}")
    for how in ("explain_analyze", "explain"):
        try:
            return Plan(body, _tree(connection, how, body, sent), executed=how == "explain_analyze")
        except sa.exc.OperationalError as error:
            if not is_timeout(error):
                raise
    raise VerificationError(
        "The plan of a list query met the timeout: somebody holds a lock that blocks readers of its tables, for example a "
        "schema change. Wait for its end, then measure again."
    )


def _tree(connection: sa.Connection, how: str, body: str, sent: SentStatement) -> dict[str, Any]:
    text = statement(f"performance/{how}", query=sql.SQL(body)).as_string(None)
    answer = connection.exec_driver_sql(text, sent.parameters).scalar_one()
    (tree,) = json.loads(answer) if isinstance(answer, str) else answer
    shortened: dict[str, Any] = _shortened(tree)
    return shortened


def _shortened(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _shortened(item) for key, item in value.items() if key not in LEFT_OUT}
    return [_shortened(item) for item in value] if isinstance(value, list) else value


def sequential_scans(connection: sa.Connection, plans: Sequence[Plan], large_rows: int) -> list[SequentialScan]:
    """The large tables that these plans scan sequentially, each once; by the statistics, or by the rows read.

    A table that was never analyzed has no statistics, but the rows read are known.
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
    """Rows of one pass, by all processes of a parallel scan; 0 if not executed."""
    each = float(node.get("Actual Rows", 0)) + float(node.get("Rows Removed by Filter", 0))
    return round(each * (node.get("Actual Loops", 1) if node.get("Parallel Aware") else 1))


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


def _lines(node: dict[str, Any], depth: int) -> Iterator[str]:
    objects = " ".join(
        f"{preposition} {node[key]}"
        for preposition, key in (("using", "Index Name"), ("on", "Relation Name"))
        if key in node
    )
    measured = (
        f"rows {node['Actual Rows']:g} x {node['Actual Loops']:g}, {node['Actual Total Time']:.2f} ms"
        if "Actual Rows" in node
        else f"about {node['Plan Rows']} rows, not executed"
    )
    pages = sum(node.get(f"Shared {where} Blocks", 0) for where in ("Hit", "Read"))
    yield f"{'  ' * depth}{node['Node Type']} {objects}".rstrip() + f" ({measured}, {pages} pages)"
    for child in node.get("Plans", ()):
        yield from _lines(child, depth + 1)
