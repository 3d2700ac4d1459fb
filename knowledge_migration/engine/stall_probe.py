"""Measures how long a reader of the live tables stalls while something else happens, beside a control that reads none.

Both are sessions like the application's: one reads a row of each table in turn, the other reads nothing. On a busy
machine both are slow at times; what the first is slower than the slowest control that overlaps it, locks have caused.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from psycopg import sql

from knowledge_migration.engine.database import Connection, Database
from knowledge_migration.engine.statements import statement, text_of

PAUSE_SECONDS = 0.005

Span = tuple[float, float]


@dataclass
class StallProbe:
    """The spans that the two readers took, in seconds of one clock; filled while the probe runs."""

    tables: tuple[str, ...]
    reads: list[Span] = field(default_factory=list)
    controls: list[Span] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def slowest_read_ms(self) -> float:
        """The slowest read of a live table."""
        return max((end - begin for begin, end in self.reads), default=0.0) * 1000

    @property
    def stall_ms(self) -> float:
        """The longest stall that the machine's own slowness does not explain."""
        return max((self._excess(span) for span in self.reads), default=0.0) * 1000

    def _excess(self, span: Span) -> float:
        begin, end = span
        slowest = max((to - since for since, to in self.controls if since < end and to > begin), default=0.0)
        return max(end - begin - slowest, 0.0)

    def to_evidence(self) -> dict[str, Any]:
        """As JSON, for `migration.evidence`."""
        return {
            "tables": list(self.tables),
            "reads": len(self.reads),
            "failed_reads": self.failures[:20],
            "slowest_read_ms": round(self.slowest_read_ms, 1),
            "slowest_control_ms": round(max((to - since for since, to in self.controls), default=0.0) * 1000, 1),
            "stall_ms": round(self.stall_ms, 1),
        }


@contextmanager
def probing(database: Database, tables: Sequence[str]) -> Iterator[StallProbe]:
    """Runs the two readers while the body runs; what they saw is in the yielded probe afterwards."""
    probe = StallProbe(tuple(tables))
    over = threading.Event()
    queries = [statement("metrics/probe_read", table=f"public.{table}") for table in tables]
    threads = [
        threading.Thread(target=_read, args=(database, queries, probe.reads, probe.failures, over)),
        threading.Thread(target=_read, args=(database, [text_of("metrics/probe_control")], probe.controls, [], over)),
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
    queries: Sequence[sql.Composed | str],
    spans: list[Span],
    failures: list[str],
    over: threading.Event,
) -> None:
    try:
        with database.connect("stall probe") as connection:
            while not over.is_set():
                for query in queries:
                    spans.append(_timed(connection, query))
                over.wait(PAUSE_SECONDS)
    except Exception as error:
        failures.append(f"{type(error).__name__}: {error}")


def _timed(connection: Connection, query: sql.Composed | str) -> Span:
    begin = time.perf_counter()
    connection.execute(query if isinstance(query, sql.Composed) else text_of("metrics/probe_control")).fetchone()
    return begin, time.perf_counter()
