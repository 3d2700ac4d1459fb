"""How fast the database serves the application's topics and atoms endpoints (strategy §2.1, "Performance Baseline").

Measures the queries behind the endpoints from this process: execution, transfer and the round trip, on a warm cache.
The queries take turns, so that a slow minute of the server falls on all of them alike; the rows asked for are spread
evenly over the tables and are the same in each run, so that two baselines of the same data can be compared, if they come
from the same machine. In each turn there are two controls, too, which read no table (a round trip, and one with constant
work): how slow the machine was at that time.
It reads only, in one transaction, each statement bounded by a timeout; broken off, it leaves nothing behind.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import psycopg

from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.errors import VerificationError
from knowledge_migration.engine.foundation.percentiles import percentiles_ms
from knowledge_migration.engine.foundation.sql_files import text_of

if TYPE_CHECKING:
    import pandas as pd

Progress = Callable[[str], None]
Clock = Callable[[], float]
Drawn = dict[str, list[dict[str, Any]]]

STATEMENT_TIMEOUT_SECONDS = 10
"""The slowest of 1,200 executions took 4.3 ms on 188,000 atoms; one of 10 s is an incident, not a sample."""


class NothingToMeasureError(VerificationError):
    """A baseline was asked for where there is no row to ask for; a baseline of zeros would compare with anything."""


@dataclass(frozen=True)
class EndpointQuery:
    """One query of the application: `sql/metrics/endpoint_<name>.sql`, asked for rows drawn from `table`."""

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

ROUND_TRIP = EndpointQuery("round_trip", "none: it asks for nothing", "topics")
CONTROL = EndpointQuery("control", "none: it reads no table", "topics")
MEASURED = (*ENDPOINT_QUERIES, ROUND_TRIP, CONTROL)


@dataclass(frozen=True)
class QueryLatency:
    """How long one query took, in milliseconds; percentiles are interpolated between the nearest samples."""

    query: str
    endpoint: str
    samples: int
    median_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


@dataclass(frozen=True)
class Baseline:
    """The latencies of all endpoint queries, in the order of their declaration, and of the controls beside them."""

    latencies: tuple[QueryLatency, ...]
    control: QueryLatency | None = None
    round_trip: QueryLatency | None = None

    def as_frame(self) -> "pd.DataFrame":
        """One row a query: query, endpoint, samples, median_ms, p95_ms, p99_ms, max_ms."""
        import pandas as pd

        return pd.DataFrame([asdict(latency) for latency in self.latencies])

    def to_evidence(self) -> dict[str, Any]:
        """The same for the evidence, as JSON can hold it."""
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
    progress: Progress | None = None,
) -> Baseline:
    """Times each endpoint query `samples` times, after `warmup` executions that do not count.

    Raises `NothingToMeasureError` when topics or atoms are empty, `VerificationError` when a query meets the timeout.
    """
    with connection.transaction():
        timeout = {"timeout": f"{STATEMENT_TIMEOUT_SECONDS}s"}
        connection.execute(text_of("performance/endpoint_statement_timeout"), timeout)
        drawn: Drawn = {table: _draw(connection, table, samples) for table in ("topics", "atoms")}
        for turn in range(warmup):
            _take_turns(connection, drawn, turn, clock)
        turns = []
        for turn in range(samples):
            turns.append(_take_turns(connection, drawn, turn, clock))
            if progress and (turn + 1) % 50 == 0:
                progress(f"measured {turn + 1:,} of {samples:,} rounds of {len(ENDPOINT_QUERIES)} queries")
    by_query = zip(MEASURED, zip(*turns, strict=True), strict=True)
    *latencies, round_trip, control = (_latency(query, seconds) for query, seconds in by_query)
    return Baseline(tuple(latencies), control, round_trip)


def _draw(connection: Connection, table: str, samples: int) -> list[dict[str, Any]]:
    """The rows that are asked for; at most `samples`, fewer where the table has fewer."""
    rows = _bounded(connection, f"draw_{table}", {"samples": samples})
    if not rows:
        raise NothingToMeasureError(
            f"There is nothing to measure: the table {table} of this database is empty. "
            "Check that the URL names the database of the application; a baseline needs its data."
        )
    return rows


def _take_turns(connection: Connection, drawn: Drawn, turn: int, clock: Clock) -> list[float]:
    """Executes each query and control once, for the row of this turn; gives back the seconds of each."""
    seconds = []
    for query in MEASURED:
        rows = drawn[query.table]
        began = clock()
        _bounded(connection, query.name, rows[turn % len(rows)])
        seconds.append(clock() - began)
    return seconds


def _bounded(connection: Connection, name: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    try:
        return connection.execute(text_of(f"performance/endpoint_{name}"), parameters).fetchall()
    except psycopg.errors.QueryCanceled as error:
        raise VerificationError(
            f"The query endpoint_{name}.sql was cancelled after {STATEMENT_TIMEOUT_SECONDS} s or by hand: no baseline. "
            "Look for a missing index (ix_atoms_title, primary keys) or a blocked server, then measure again."
        ) from error


def _latency(query: EndpointQuery, seconds: Sequence[float]) -> QueryLatency:
    median, p95, p99 = percentiles_ms(seconds)
    return QueryLatency(
        query=query.name,
        endpoint=query.endpoint,
        samples=len(seconds),
        median_ms=median,
        p95_ms=p95,
        p99_ms=p99,
        max_ms=round(max(seconds) * 1000, 4),
    )
