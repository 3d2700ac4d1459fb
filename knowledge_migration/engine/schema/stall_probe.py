"""Measures how long a reader of the live tables stalls while something else happens, beside a control that reads none.

Both are sessions like the application's: one reads a row of each table in turn, the other reads nothing. On a busy
machine both are slow at times; what the first is slower than the slowest control that overlaps it, locks have caused.
Only spans worth a look are kept, so that a phase of hours costs neither memory nor time.
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
    """What one reader saw: how many reads, the slowest, and the spans of the slower ones in order of time."""

    count: int = 0
    slowest_seconds: float = 0.0
    slow: list[Span] = field(default_factory=list)

    def add(self, begin: float, end: float) -> None:
        """One more read, in seconds of one clock."""
        self.count += 1
        self.slowest_seconds = max(self.slowest_seconds, end - begin)
        if end - begin >= KEPT_FROM_SECONDS:
            self.slow.append((begin, end))

    def slowest_beside(self, span: Span) -> float:
        """Seconds of the slowest kept read that overlaps the span; one reader's spans never overlap each other."""
        begin, end = span
        first = bisect_right(self.slow, begin, key=lambda kept: kept[1])
        beyond = bisect_left(self.slow, end, key=lambda kept: kept[0])
        return max((to - since for since, to in self.slow[first:beyond]), default=0.0)


@dataclass
class StallProbe:
    """What the two readers saw; filled while the probe runs."""

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
        """The longest stall that the machine's own slowness does not explain."""
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
    """Runs the two readers while the body runs; what they saw is in the yielded probe afterwards.

    A reader that fails ends, and is told in `failures`: then the probe has not seen everything.
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
