"""The measurements of one service process for the gates, written to the database every few seconds (strategy §6.4, §11.1).

Requests by route and extractions by mode: how many, errors, refusals by a full queue, and the seconds of the answered ones, as
sums of logarithms (geometric means of two modes can be compared) and by bucket. Invalid requests (4xx) are not counted.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

import sqlalchemy as sa

from knowledge_migration.knowledge.tables import service_measurement

BUCKET_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Upper bounds, which include the strategy's limits (0.1, 0.2, 0.5, 2 s); one more bucket is for longer ones."""

EXTRACTION = "extraction"
SHORTEST_SECONDS = 1e-6
KEPT = timedelta(days=30)

Outcome = Literal["answered", "error", "refused", "not counted"]


@dataclass
class Measured:
    """The numbers of one operation in one mode since the last write."""

    requests: int = 0
    errors: int = 0
    refused: int = 0
    pool_timeouts: int = 0
    log_seconds: float = 0.0
    log_seconds_squared: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKET_SECONDS) + 1))

    def answered_in(self, seconds: float) -> None:
        """Counts one that was answered."""
        logarithm = math.log(max(seconds, SHORTEST_SECONDS))
        self.log_seconds += logarithm
        self.log_seconds_squared += logarithm * logarithm
        self.buckets[bisect_left(BUCKET_SECONDS, seconds)] += 1

    def add(self, other: "Measured") -> None:
        """Takes over the numbers of another."""
        for name in ("requests", "errors", "refused", "pool_timeouts", "log_seconds", "log_seconds_squared"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.buckets = [mine + theirs for mine, theirs in zip(self.buckets, other.buckets, strict=True)]


Key = tuple[str, str]


class Measurements:
    """The measurements that are not written yet; used from the event loop only."""

    def __init__(self) -> None:
        self._measured: dict[Key, Measured] = {}

    def count(self, operation: str, mode: str, outcome: Outcome, seconds: float) -> None:
        """Counts one request."""
        if outcome == "not counted":
            return
        measured = self._measured.setdefault((operation, mode), Measured())
        measured.requests += 1
        if outcome == "answered":
            measured.answered_in(seconds)
        elif outcome == "error":
            measured.errors += 1
        else:
            measured.refused += 1

    def pool_timed_out(self) -> None:
        """Counts a request that got no connection in time."""
        self._measured.setdefault(("pool", ""), Measured()).pool_timeouts += 1

    @contextmanager
    def taken(self) -> Iterator[dict[Key, Measured]]:
        """All measurements so far; kept for the next time when the block raises."""
        taken, self._measured = self._measured, {}
        try:
            yield taken
        except BaseException:
            for key, measured in taken.items():
                self._measured.setdefault(key, Measured()).add(measured)
            raise


def outcome_of_status(status: int) -> Outcome:
    """How an HTTP status counts."""
    if status >= 500:
        return "error"
    if status == 429:
        return "refused"
    return "not counted" if status >= 400 else "answered"


def write_measurements(connection: sa.Connection, process: str, taken: dict[Key, Measured]) -> None:
    """One row for each operation and mode; its time is when it is written."""
    rows: list[dict[str, Any]] = [
        {"process": process, "operation": operation, "mode": mode, **vars(measured)}
        for (operation, mode), measured in sorted(taken.items())
    ]
    if rows:
        at = sa.func.clock_timestamp()
        connection.execute(sa.insert(service_measurement).values([{**row, "at": at} for row in rows]))


def forget_old_measurements(connection: sa.Connection) -> int:
    """Deletes what is older than 30 days; returns how many rows."""
    old = sa.delete(service_measurement).where(service_measurement.c.at < sa.func.now() - KEPT)
    return int(connection.execute(old).rowcount)
