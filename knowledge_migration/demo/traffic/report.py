"""What a run of the traffic has to say, as numbers, as JSON, and as a table."""

from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from knowledge_migration.demo.traffic.measurements import Measurements, Stall, percentile
from knowledge_migration.demo.traffic.verification import Lost, Verified

STALL_SECONDS = 0.25
SHOWN = 20


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
    """Requests, failures, latencies, stalls, and acknowledged writes that the database does not hold.

    `injected` are the failures that the service was told to produce; they are nobody's fault. `taken_back` are extractions
    whose proposals a way back has removed on purpose.
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
    taken_back: int = 0

    @property
    def well(self) -> bool:
        """Whether nobody was failed and nothing was lost, and there was traffic at all."""
        return self.requests > 0 and not self.failed and not self.lost

    @property
    def sentence(self) -> str:
        """The result in one line."""
        overall = self.latencies[0]
        on_purpose = f" ({self.injected} more on purpose)" if self.injected else ""
        return (
            f"{self.requests:,} requests in {self.seconds:.0f} s, {self.failed} failed{on_purpose}, {self.refused} refused; "
            f"p95 {overall.p95:.0f} ms, slowest {overall.slowest:.0f} ms, {len(self.stalls)} stalls over "
            f"{STALL_SECONDS * 1000:.0f} ms; {self.acknowledged_writes:,} acknowledged writes, {len(self.lost)} lost"
            + (f"; proposals of {self.taken_back:,} extractions taken back on purpose" if self.taken_back else "")
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "well": self.well, "sentence": self.sentence}

    def table(self) -> Table:
        """Latency by operation, in milliseconds."""
        table = Table("operation", "requests", "failed", "on purpose", "p50 ms", "p95 ms", "p99 ms", "slowest ms")
        for one in self.latencies:
            numbers = [f"{value:,.0f}" for value in (one.p50, one.p95, one.p99, one.slowest)]
            table.add_row(
                one.operation.replace("_", " "), f"{one.requests:,}", str(one.failed), str(one.injected), *numbers
            )
        return table


def report_of(measured: Measurements, seconds: float, acknowledged: int, verified: Verified) -> TrafficReport:
    """The report of a finished run."""
    operations = [None, *sorted(measured.spans)]
    return TrafficReport(
        seconds=seconds,
        requests=measured.requests,
        failed=_ended(measured, None, "failed"),
        refused=_ended(measured, None, "refused"),
        injected=_ended(measured, None, "injected"),
        acknowledged_writes=acknowledged,
        latencies=tuple(_latency(measured, operation) for operation in operations),
        stalls=tuple(measured.stalls(STALL_SECONDS)),
        failures=tuple(measured.failures[:SHOWN]),
        lost=verified.lost,
        taken_back=verified.taken_back,
    )


def _ended(measured: Measurements, operation: str | None, how: str) -> int:
    """How many ended so, of one operation or of all."""
    statuses = measured.statuses.items()
    return sum(count for (name, status), count in statuses if status == how and operation in (None, name))


def _latency(measured: Measurements, operation: str | None) -> Latency:
    times = measured.milliseconds(operation)
    failed, injected = _ended(measured, operation, "failed"), _ended(measured, operation, "injected")
    shares = [percentile(times, share) for share in (0.5, 0.95, 0.99, 1.0)]
    return Latency(operation or "all", len(times), failed, injected, *shares)
