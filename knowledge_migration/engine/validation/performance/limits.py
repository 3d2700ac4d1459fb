"""Whether the queries that users wait for keep to their limits, and how the server executes them (strategy §9.3).

The queries take turns, so that a slow minute falls on all alike, in a session that can only read; each statement is
bounded by a timeout and each query by a budget, so that a missing index costs seconds and not an hour. No transaction
stays open between two of them: a schema change would wait behind it.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from knowledge_migration.engine.cutover.gates import Gate, MetricName
from knowledge_migration.engine.foundation.check_outcome import CheckOutcome
from knowledge_migration.engine.foundation.database import Database, exists
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.engine.foundation.timing import percentiles_ms
from knowledge_migration.engine.validation.performance.plans import Plan, SequentialScan, explain, sequential_scans
from knowledge_migration.engine.validation.performance.queries import (
    LimitedQuery,
    is_timeout,
    limited_queries,
    statements_of,
)

if TYPE_CHECKING:
    import pandas as pd

STATEMENT_TIMEOUT_SECONDS = 5
"""Ten times the longest limit: a statement beyond it is too slow, however much."""

BUDGET_SECONDS = 10.0
"""For all executions of one query; what is as slow as that needs no hundred samples."""

WARM_UP = 10
"""The fifth execution is prepared, and after five of those the server may choose a plan for any parameters."""

KIND = "performance_validation"


@dataclass(frozen=True)
class QueryVerdict:
    """How long one query took, in milliseconds, against its limit; and how it was executed."""

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
        """Whether its p95 is: a limit for users is not broken by one answer of a hundred."""
        return not self.timed_out and self.p95_ms <= self.limit_ms

    @property
    def scanned(self) -> list[str]:
        """The large tables that it reads whole."""
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
        """The same for the evidence, with its plan."""
        return {
            "query": self.query,
            "asked_by": self.asked_by,
            "samples": self.samples,
            "p50_ms": self.p50_ms,
            "p95_ms": self.p95_ms,
            "p99_ms": self.p99_ms,
            "limit_ms": self.limit_ms,
            "within": self.within,
            "timed_out": self.timed_out,
            "sequential_scans": self.scanned,
            "plan": {
                "statements": [{"text": plan.text, "executed": plan.executed, **plan.tree} for plan in self.plans]
            },
        }


@dataclass(frozen=True)
class PerformanceValidation:
    """Every query's verdict, and how many proposals there were."""

    verdicts: tuple[QueryVerdict, ...]
    proposals: int

    @property
    def passed(self) -> bool:
        """Whether all keep to their limits; there is always something measured."""
        return all(verdict.within for verdict in self.verdicts)

    def as_frame(self) -> "pd.DataFrame":
        """One row a query."""
        import pandas as pd

        return pd.DataFrame([verdict.as_row() for verdict in self.verdicts])

    def to_evidence(self) -> dict[str, Any]:
        """For the evidence, as JSON can hold it."""
        return {
            "queries": [verdict.to_evidence() for verdict in self.verdicts],
            "proposals": self.proposals,
            "passed": self.passed,
        }


@dataclass
class _Sampled:
    """What one query has shown so far."""

    query: LimitedQuery
    seconds: list[float] = field(default_factory=list)
    spent: float = 0.0
    timed_out: bool = False

    def take(self, connection: sa.Connection, clock: Callable[[], float], *, counts: bool) -> None:
        """Asks once more unless the budget is spent; one that meets the timeout is asked no more."""
        if self.timed_out or (self.spent > BUDGET_SECONDS and self.seconds):
            return
        began = clock()
        try:
            self.query.ask(connection)
        except sa.exc.OperationalError as error:
            if not is_timeout(error):
                raise
            self.timed_out = True
        taken = clock() - began
        self.spent += taken
        if self.timed_out:
            self.seconds = [taken]
        elif counts:
            self.seconds.append(taken)


def validate(
    database: Database,
    gates: Sequence[Gate],
    *,
    samples: int,
    large_rows: int,
    clock: Callable[[], float] = time.perf_counter,
    only: Callable[[LimitedQuery], bool] = lambda _: True,
) -> PerformanceValidation:
    """Times every query `samples` times after a warm-up, and looks at its plan. Reads only.

    Raises `PreconditionError` where there are no proposals: a list of nothing is always fast.
    """
    proposals = _proposals(database)
    settings = {
        "default_transaction_read_only": "on",
        "statement_timeout": f"{STATEMENT_TIMEOUT_SECONDS}s",
    }
    with database.engine(settings=settings) as engine, engine.connect() as connection:
        asked = [_Sampled(query) for query in limited_queries(connection) if only(query)]
        for turn in range(WARM_UP + samples):
            for one in asked:
                one.take(connection, clock, counts=turn >= WARM_UP)
        limits = _limits_ms(gates)
        return PerformanceValidation(tuple(_verdict(connection, one, limits, large_rows) for one in asked), proposals)


def _proposals(database: Database) -> int:
    with database.connect("performance") as connection:
        if not exists(connection, "public.topic_proposals") or not exists(connection, "public.atom_proposals"):
            raise PreconditionError("The proposal tables are not there: run phase 1 (job phase_1_schema) first.")
        row = connection.execute(text_of("performance/benchmark_extent")).fetchone()
    assert row is not None  # a SELECT without FROM
    return int(row["proposals"])


def _limits_ms(gates: Sequence[Gate]) -> Mapping[MetricName, float]:
    return {gate.metric: 1000 * gate.limit_seconds for gate in gates if gate.limit_seconds is not None}


def _verdict(
    connection: sa.Connection, sampled: _Sampled, limits: Mapping[MetricName, float], large_rows: int
) -> QueryVerdict:
    query = sampled.query
    plans = [explain(connection, sent) for sent in statements_of(connection, query)]
    median, p95, p99 = percentiles_ms(sampled.seconds)
    return QueryVerdict(
        query=query.name,
        asked_by=query.asked_by,
        samples=len(sampled.seconds),
        p50_ms=median,
        p95_ms=p95,
        p99_ms=p99,
        limit_ms=limits[query.limited_by],
        sequential_scans=tuple(sequential_scans(connection, plans, large_rows)),
        plans=tuple(plans),
        timed_out=sampled.timed_out,
    )


def limits_outcome(measured: PerformanceValidation) -> CheckOutcome:
    """Whether every query keeps to its limit."""
    slow = [verdict.as_row() for verdict in measured.verdicts if not verdict.within]
    return CheckOutcome(
        name="queries_keep_to_their_limits",
        count=len(slow),
        sample=tuple(slow),
        description="95 of 100 executions of each list that users wait for stay within its limit.",
        remedy=(
            "Look at its plan in this asset's metadata: an index that is missing or invalid (check "
            "schema_matches_the_declaration), old statistics (ANALYZE), or a busy server; then measure again."
        ),
        numbers={"queries": len(measured.verdicts), "proposals": measured.proposals},
    )


def scans_outcome(measured: PerformanceValidation, large_rows: int) -> CheckOutcome:
    """Whether no plan reads a large table from end to end."""
    found = [
        {"query": verdict.query, "table": scan.table, "rows": scan.rows}
        for verdict in measured.verdicts
        for scan in verdict.sequential_scans
    ]
    return CheckOutcome(
        name="no_query_reads_a_large_table_whole",
        count=len(found),
        sample=tuple(found),
        description=f"No list that users wait for reads a table of {large_rows:,} rows or more from end to end.",
        remedy="It grows slower with the table: look for a missing index, or ANALYZE the table, then measure again.",
        numbers={"large_from_rows": large_rows},
    )
