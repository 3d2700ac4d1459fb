"""The latency of the list queries against their limits, and their plans (strategy §9.3).

The queries are interleaved in a read-only session. Each statement has a timeout and each query a time budget, so a missing
index costs seconds. No transaction stays open between two queries: a schema change would wait for it. EXPLAIN ANALYZE executes
a statement once more, so only a SELECT is accepted.
"""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import sqlalchemy as sa
from psycopg import sql

from knowledge_migration.engine.foundation.check_outcome import CheckOutcome
from knowledge_migration.engine.foundation.database import Database, exists
from knowledge_migration.engine.foundation.errors import PreconditionError, VerificationError
from knowledge_migration.engine.foundation.sql_files import statement, text_of
from knowledge_migration.engine.foundation.timing import Clock, Samples, time_interleaved
from knowledge_migration.engine.validation.performance.queries import (
    LimitedQuery,
    SentStatement,
    is_timeout,
    limited_queries,
    statements_of,
)
from knowledge_migration.thresholds import Gate, MetricName

STATEMENT_TIMEOUT_SECONDS = 5
"""Ten times the longest limit."""

BUDGET_SECONDS = 10.0
"""For all executions of one query."""

WARM_UP = 10
"""psycopg prepares a statement at its fifth execution; after five more the server may choose a generic plan."""

KIND = "performance_validation"

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


@dataclass(frozen=True)
class QueryVerdict:
    """Percentiles of one query in milliseconds, its limit, and its plans."""

    query: str
    asked_by: str
    samples: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    limit_ms: float
    sequential_scans: tuple[SequentialScan, ...]
    plans: tuple[Plan, ...]
    timed_out: bool = False

    @property
    def within(self) -> bool:
        """Whether p95 is within the limit."""
        return not self.timed_out and self.p95_ms <= self.limit_ms

    @property
    def scanned(self) -> list[str]:
        """The large tables that the query scans sequentially."""
        return [scan.table for scan in self.sequential_scans]

    def as_row(self) -> dict[str, Any]:
        """For a table."""
        return {
            "query": self.query,
            "asked by": self.asked_by,
            "samples": self.samples,
            "p50_ms": round(self.p50_ms, 2),
            "p95_ms": round(self.p95_ms, 2),
            "p99_ms": round(self.p99_ms, 2),
            "limit_ms": self.limit_ms,
            "within": self.within,
            "reads whole": ", ".join(self.scanned),
        }

    def to_evidence(self) -> dict[str, Any]:
        """As JSON, with the plans."""
        plain = {key: value for key, value in vars(self).items() if key not in ("plans", "sequential_scans")}
        plans = [{"text": plan.text, "executed": plan.executed, **plan.tree} for plan in self.plans]
        return {
            **plain,
            "within": self.within,
            "sequential_scans": self.scanned,
            "plan": {"statements": plans},
        }


@dataclass(frozen=True)
class PerformanceValidation:
    """The verdict of each query, and the number of proposals."""

    verdicts: tuple[QueryVerdict, ...]
    proposals: int

    @property
    def passed(self) -> bool:
        """Whether every query is within its limit."""
        return all(verdict.within for verdict in self.verdicts)

    def to_evidence(self) -> dict[str, Any]:
        """As JSON, for the evidence `performance_validation`."""
        return {
            "queries": [verdict.to_evidence() for verdict in self.verdicts],
            "proposals": self.proposals,
            "passed": self.passed,
        }


def validate(
    database: Database,
    gates: Sequence[Gate],
    *,
    samples: int,
    large_rows: int,
    clock: Clock = time.perf_counter,
    only: Callable[[LimitedQuery], bool] = lambda _: True,
) -> PerformanceValidation:
    """Times each query `samples` times after a warm-up, and explains it. Reads only.

    Raises `PreconditionError` without proposals, because an empty list is always fast.
    """
    proposals = _proposals(database)
    settings = {
        "default_transaction_read_only": "on",
        "statement_timeout": f"{STATEMENT_TIMEOUT_SECONDS}s",
    }
    with database.engine(settings=settings) as engine, engine.connect() as connection:
        queries = [query for query in limited_queries(connection) if only(query)]
        timed = time_interleaved(
            [partial(query.ask, connection) for query in queries],
            samples=samples,
            warm_up=WARM_UP,
            clock=clock,
            budget_seconds=BUDGET_SECONDS,
            is_timeout=is_timeout,
        )
        limits = {gate.metric: 1000 * gate.limit_seconds for gate in gates if gate.limit_seconds is not None}
        verdicts = [
            _verdict(connection, query, result, limits, large_rows)
            for query, result in zip(queries, timed, strict=True)
        ]
    return PerformanceValidation(tuple(verdicts), proposals)


def _proposals(database: Database) -> int:
    with database.connect("performance") as connection:
        if not exists(connection, "public.topic_proposals") or not exists(connection, "public.atom_proposals"):
            raise PreconditionError("The proposal tables do not exist: run phase 1 (job phase_1_schema) first.")
        row = connection.execute(text_of("performance/benchmark_extent")).fetchone()
    assert row is not None  # a SELECT without FROM
    return int(row["proposals"])


def _verdict(
    connection: sa.Connection,
    query: LimitedQuery,
    result: Samples,
    limits: Mapping[MetricName, float],
    large_rows: int,
) -> QueryVerdict:
    plans = [explain(connection, sent) for sent in statements_of(connection, query)]
    latency = result.latency()
    return QueryVerdict(
        query=query.name,
        asked_by=query.asked_by,
        samples=latency.samples,
        p50_ms=latency.median_ms,
        p95_ms=latency.p95_ms,
        p99_ms=latency.p99_ms,
        limit_ms=limits[query.limited_by],
        sequential_scans=tuple(sequential_scans(connection, plans, large_rows)),
        plans=tuple(plans),
        timed_out=result.timed_out,
    )


def limits_outcome(measured: PerformanceValidation) -> CheckOutcome:
    """Whether p95 of each query is within its limit."""
    slow = [verdict.as_row() for verdict in measured.verdicts if not verdict.within]
    return CheckOutcome(
        name="queries_keep_to_their_limits",
        count=len(slow),
        sample=tuple(slow),
        description="p95 of each list query is within its limit.",
        remedy=(
            "Read its plan in the metadata of this asset. Check for a missing or invalid index (check "
            "schema_matches_the_declaration), old statistics (ANALYZE) and a busy server, then measure again."
        ),
        numbers={"queries": len(measured.verdicts), "proposals": measured.proposals},
    )


def scans_outcome(measured: PerformanceValidation, large_rows: int) -> CheckOutcome:
    """Whether no plan scans a large table sequentially."""
    scans = [
        {"query": verdict.query, "table": scan.table, "rows": scan.rows}
        for verdict in measured.verdicts
        for scan in verdict.sequential_scans
    ]
    return CheckOutcome(
        name="no_query_reads_a_large_table_whole",
        count=len(scans),
        sample=tuple(scans),
        description=f"No list query scans a table of {large_rows:,} rows or more sequentially.",
        remedy="Its latency grows with the table. Check for a missing index, or ANALYZE the table, then measure again.",
        numbers={"large_from_rows": large_rows},
    )


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
    statistics = connection.exec_driver_sql(text_of("performance/benchmark_table_rows"), {"tables": list(read)})
    counted = {row.name: max(row.rows, read[row.name]) for row in statistics}
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
