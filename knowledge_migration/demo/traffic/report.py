"""Measures the requests of the traffic, and reports them as numbers, JSON and a table.

Latencies count from when a request was due, so a server that stalls is not excused.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.table import Table

from knowledge_migration.demo.traffic.verification import Lost, Verified

STALL_SECONDS = 0.25
SHOWN = 20


@dataclass(frozen=True)
class Stall:
    """A period in which requests were due and none was answered."""

    at_seconds: float
    seconds: float


@dataclass
class Measurements:
    """The times and results of all requests; times are seconds of one clock, latencies count from when a request was due."""

    spans: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    statuses: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def answered(self, operation: str, due: float, ended: float, status: str) -> None:
        """Adds a request with its result: answered, failed, refused or injected."""
        self.spans[operation].append((due, ended))
        self.statuses[operation, status] += 1

    @property
    def requests(self) -> int:
        """The number of requests."""
        return sum(len(spans) for spans in self.spans.values())

    def milliseconds(self, operation: str | None = None) -> list[float]:
        """Latencies in ascending order, of one operation or of all."""
        chosen = [self.spans[operation]] if operation else list(self.spans.values())
        return sorted(1000 * (ended - due) for spans in chosen for due, ended in spans)

    def stalls(self, longer_than_seconds: float) -> list[Stall]:
        """The periods between two answers in which a request was due all the time."""
        by_end = sorted((ended, due) for spans in self.spans.values() for due, ended in spans)
        stalls: list[Stall] = []
        began, oldest_due = min((due for _, due in by_end), default=0.0), float("inf")
        for place in range(len(by_end) - 1, -1, -1):
            ended, due = by_end[place]
            oldest_due = min(oldest_due, due)  # of what was answered now or later
            since = max(oldest_due, by_end[place - 1][0]) if place else oldest_due
            if ended - since > longer_than_seconds:
                stalls.append(Stall(since - began, ended - since))
        return stalls[::-1]

    def count(self, status: str, operation: str | None = None) -> int:
        """The requests with this result, of one operation or of all."""
        return sum(count for (name, how), count in self.statuses.items() if how == status and operation in (None, name))


def percentile(ascending: Sequence[float], share: float) -> float:
    """The value below which this share lies; 0.0 for no values."""
    return ascending[min(int(share * len(ascending)), len(ascending) - 1)] if ascending else 0.0


@dataclass(frozen=True)
class Latency:
    """Milliseconds from when a request was due to its answer."""

    operation: str
    requests: int
    failed: int
    injected: int
    p50: float
    p95: float
    p99: float
    slowest: float


@dataclass(frozen=True)
class TrafficReport:
    """Requests, failures, latencies, stalls, and acknowledged writes that are missing in the database.

    `injected` counts the failures that the service was told to produce, `rolled_back` the extractions whose proposals a
    rollback removed.
    """

    seconds: float
    requests: int
    failed: int
    refused: int
    injected: int
    acknowledged_writes: int
    latencies: tuple[Latency, ...]
    stalls: tuple[Stall, ...]
    failures: tuple[str, ...]
    lost: tuple[Lost, ...]
    rolled_back: int = 0

    @property
    def passed(self) -> bool:
        """True if there was traffic, no request failed and no write was lost."""
        return self.requests > 0 and not self.failed and not self.lost

    @property
    def sentence(self) -> str:
        """The result in one line."""
        overall = self.latencies[0]
        injected = f" ({self.injected} more were injected)" if self.injected else ""
        rolled_back = (
            f"; rollbacks removed the proposals of {self.rolled_back:,} extractions" if self.rolled_back else ""
        )
        return (
            f"{self.requests:,} requests in {self.seconds:.0f} s, {self.failed} failed{injected}, {self.refused} refused; "
            f"p95 {overall.p95:.0f} ms, slowest {overall.slowest:.0f} ms, {len(self.stalls)} stalls over "
            f"{STALL_SECONDS * 1000:.0f} ms; {self.acknowledged_writes:,} acknowledged writes, {len(self.lost)} lost"
            f"{rolled_back}"
        )

    def to_json(self) -> dict[str, Any]:
        """The report as JSON."""
        return {**asdict(self), "passed": self.passed, "sentence": self.sentence}

    def table(self) -> Table:
        """Latency by operation, in milliseconds."""
        table = Table("operation", "requests", "failed", "injected", "p50 ms", "p95 ms", "p99 ms", "slowest ms")
        for latency in self.latencies:
            operation, *numbers = asdict(latency).values()
            table.add_row(operation.replace("_", " "), *(f"{number:,.0f}" for number in numbers))
        return table


def report_of(measured: Measurements, seconds: float, acknowledged: int, verified: Verified) -> TrafficReport:
    """The report of a finished run."""
    return TrafficReport(
        seconds=seconds,
        requests=measured.requests,
        failed=measured.count("failed"),
        refused=measured.count("refused"),
        injected=measured.count("injected"),
        acknowledged_writes=acknowledged,
        latencies=tuple(_latency(measured, operation) for operation in (None, *sorted(measured.spans))),
        stalls=tuple(measured.stalls(STALL_SECONDS)),
        failures=tuple(measured.failures[:SHOWN]),
        lost=verified.lost,
        rolled_back=verified.rolled_back,
    )


def _latency(measured: Measurements, operation: str | None) -> Latency:
    times = measured.milliseconds(operation)
    failed, injected = (measured.count(status, operation) for status in ("failed", "injected"))
    shares = [percentile(times, share) for share in (0.5, 0.95, 0.99, 1.0)]
    return Latency(operation or "all", len(times), failed, injected, *shares)
