"""Measures how long a reader of the live tables stalls during a schema change, compared with a control session.

One session reads a row of each table in a loop, the control reads no table. A busy machine slows both; locks cause the
time by which a read exceeds the slowest overlapping control. Keeps slow spans only, so that memory stays bounded.
"""

import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from psycopg import sql

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.sql_files import statement

PAUSE_SECONDS = 0.005
KEPT_FROM_SECONDS = 0.005

Span = tuple[float, float]


@dataclass
class Readings:
    """The reads of one session: their number, the slowest, and the spans of slow ones in order of time."""

    count: int = 0
    slowest_seconds: float = 0.0
    slow: list[Span] = field(default_factory=list)

    def add(self, begin: float, end: float) -> None:
        """Adds one read, in seconds of one clock."""
        self.count += 1
        self.slowest_seconds = max(self.slowest_seconds, end - begin)
        if end - begin >= KEPT_FROM_SECONDS:
            self.slow.append((begin, end))

    def slowest_beside(self, span: Span) -> float:
        """Seconds of the slowest kept read that overlaps the span; the spans of one session never overlap each other."""
        begin, end = span
        first = bisect_right(self.slow, begin, key=lambda kept: kept[1])
        beyond = bisect_left(self.slow, end, key=lambda kept: kept[0])
        return max((to - since for since, to in self.slow[first:beyond]), default=0.0)


@dataclass
class StallProbe:
    """The reads of both sessions; filled while the probe runs."""

    tables: tuple[str, ...]
    reads: Readings = field(default_factory=Readings)
    controls: Readings = field(default_factory=Readings)
    failures: list[str] = field(default_factory=list)

    @property
    def slowest_read_ms(self) -> float:
        """The slowest read of a live table."""
        return self.reads.slowest_seconds * 1000

    @property
    def stall_ms(self) -> float:
        """The longest stall that the machine's slowness does not explain, in milliseconds."""
        return max((self._excess(span) for span in self.reads.slow), default=0.0) * 1000

    def _excess(self, span: Span) -> float:
        begin, end = span
        return max(end - begin - self.controls.slowest_beside(span), 0.0)

    def to_evidence(self) -> dict[str, Any]:
        """As JSON, for `migration.evidence`."""
        return {
            "tables": list(self.tables),
            "reads": self.reads.count,
            "failed_reads": self.failures[:20],
            "slowest_read_ms": round(self.slowest_read_ms, 1),
            "slowest_control_ms": round(self.controls.slowest_seconds * 1000, 1),
            "stall_ms": round(self.stall_ms, 1),
        }


@contextmanager
def probing(database: Database, tables: Sequence[str]) -> Iterator[StallProbe]:
    """Runs both sessions while the block runs; the yielded probe has their reads afterwards.

    A session that fails ends and appears in `failures`; the probe is incomplete then.
    """
    probe = StallProbe(tuple(tables))
    over = threading.Event()
    queries = [statement("schema/stall_probe_read", table=f"public.{table}") for table in tables]
    control = [statement("schema/stall_probe_control")]
    threads = [
        threading.Thread(target=_read, args=(database, queries, probe.reads, probe.failures, over)),
        threading.Thread(target=_read, args=(database, control, probe.controls, probe.failures, over)),
    ]
    for thread in threads:
        thread.start()
    try:
        yield probe
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _read(
    database: Database,
    queries: Sequence[sql.Composed],
    readings: Readings,
    failures: list[str],
    over: threading.Event,
) -> None:
    try:
        with database.connect("stall probe") as connection:
            while not over.is_set():
                for query in queries:
                    readings.add(*_timed(connection, query))
                over.wait(PAUSE_SECONDS)
    except Exception as error:
        failures.append(f"{type(error).__name__}: {error}")


def _timed(connection: Connection, query: sql.Composed) -> Span:
    begin = time.perf_counter()
    connection.execute(query).fetchone()
    return begin, time.perf_counter()
