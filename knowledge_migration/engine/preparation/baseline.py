"""Latency of the queries behind the application's topics and atoms endpoints (strategy §2.1, "Performance Baseline").

Interleaves the queries with two controls that read no table, which show how slow the machine was. The sampled rows are
spread evenly over the tables and are the same in each run. Reads only, in one transaction with a statement timeout.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from itertools import cycle
from typing import TYPE_CHECKING, Any, Literal

import psycopg

from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.errors import VerificationError
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.engine.foundation.timing import Clock, time_interleaved

if TYPE_CHECKING:
    import pandas as pd

PROGRESS_ROUNDS = 50
NOBODY = {"id": 0, "title": ""}
STATEMENT_TIMEOUT_SECONDS = 10
"""The slowest of 1,200 executions took 4.3 ms on 188,000 atoms; one of 10 s is an incident, not a sample."""


@dataclass(frozen=True)
class EndpointQuery:
    """The query `performance/endpoint_<name>`, executed for rows drawn from `table`."""

    name: str
    endpoint: str
    table: Literal["topics", "atoms"]


ENDPOINT_QUERIES: tuple[EndpointQuery, ...] = (
    EndpointQuery("topics_page", "GET /api/v1/topics", "topics"),
    EndpointQuery("topic", "GET /api/v1/topics/{id}", "topics"),
    EndpointQuery("atoms_of_a_topic", "GET /api/v1/topics/{id}/atoms", "topics"),
    EndpointQuery("atoms_page", "GET /api/v1/atoms", "atoms"),
    EndpointQuery("atom", "GET /api/v1/atoms/{id}", "atoms"),
    EndpointQuery("atoms_by_title", "link_atoms of POST /api/v1/knowledge/extract", "atoms"),
)

ROUND_TRIP = EndpointQuery("round_trip", "none (empty statement)", "topics")
CONTROL = EndpointQuery("control", "none (constant work)", "topics")
MEASURED = (*ENDPOINT_QUERIES, ROUND_TRIP, CONTROL)


@dataclass(frozen=True)
class QueryLatency:
    """Percentiles of one query in milliseconds, and its slowest sample."""

    query: str
    endpoint: str
    samples: int
    median_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


@dataclass(frozen=True)
class Baseline:
    """The latencies of all endpoint queries, in the order of `ENDPOINT_QUERIES`, and of the two controls."""

    latencies: tuple[QueryLatency, ...]
    control: QueryLatency | None = None
    round_trip: QueryLatency | None = None

    def as_frame(self) -> "pd.DataFrame":
        """One row per query: query, endpoint, samples, median_ms, p95_ms, p99_ms, max_ms."""
        import pandas as pd

        return pd.DataFrame([asdict(latency) for latency in self.latencies])

    def to_evidence(self) -> dict[str, Any]:
        """As JSON, for the evidence `performance_baseline`."""
        return {
            "unit": "ms",
            "queries": [asdict(latency) for latency in self.latencies],
            "control": asdict(self.control) if self.control else None,
            "round_trip": asdict(self.round_trip) if self.round_trip else None,
        }


def measure(
    connection: Connection,
    *,
    samples: int,
    warmup: int = 20,
    clock: Clock = time.perf_counter,
    progress: Callable[[str], None] | None = None,
) -> Baseline:
    """Times each endpoint query `samples` times, after `warmup` executions that do not count.

    An empty table is asked for rows that do not exist. Raises `VerificationError` when a query meets the timeout.
    """

    def report_round(number: int) -> None:
        if progress and number % PROGRESS_ROUNDS == 0:
            progress(f"measured {number:,} of {samples:,} rounds of {len(ENDPOINT_QUERIES)} queries")

    with connection.transaction():
        timeout = {"timeout": f"{STATEMENT_TIMEOUT_SECONDS}s"}
        # the draw reads every key, which takes minutes for a billion rows; only its wait for a lock is limited
        connection.execute(text_of("performance/endpoint_lock_timeout"), timeout)
        drawn = {table: _draw(connection, table, samples) for table in ("topics", "atoms")}
        connection.execute(text_of("performance/endpoint_statement_timeout"), timeout)
        executions = [partial(_execute_next, connection, query.name, cycle(drawn[query.table])) for query in MEASURED]
        timed = time_interleaved(executions, samples=samples, warm_up=warmup, clock=clock, after_round=report_round)
    *latencies, round_trip, control = (
        QueryLatency(query.name, query.endpoint, **vars(result.latency()))
        for query, result in zip(MEASURED, timed, strict=True)
    )
    return Baseline(tuple(latencies), control, round_trip)


def _draw(connection: Connection, table: str, samples: int) -> list[dict[str, Any]]:
    """At most `samples` rows of the table, fewer where the table has fewer."""
    return _bounded(connection, f"draw_{table}", {"samples": samples}) or [NOBODY]


def _execute_next(connection: Connection, name: str, rows: "cycle[dict[str, Any]]") -> None:
    _bounded(connection, name, next(rows))


def _bounded(connection: Connection, name: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    try:
        return connection.execute(text_of(f"performance/endpoint_{name}"), parameters).fetchall()
    except (psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable) as error:
        raise VerificationError(
            f"The query endpoint_{name} was cancelled, by its timeout of {STATEMENT_TIMEOUT_SECONDS} s or by a user; there "
            "is no baseline. Check for a missing index (ix_atoms_title, primary keys) or a blocked server, then measure "
            "again."
        ) from error
