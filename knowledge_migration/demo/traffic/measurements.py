"""How long answers took, counted from when each request was due, so that a server that stalls is not excused by it."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Stall:
    """A stretch in which requests were due and none was answered."""

    at_seconds: float
    seconds: float


@dataclass
class Measurements:
    """Everything that was asked; times are seconds of one clock."""

    spans: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    statuses: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    refused: int = 0

    def answered(self, operation: str, due: float, ended: float, status: str) -> None:
        """One more answer, or the lack of one."""
        self.spans[operation].append((due, ended))
        self.statuses[operation, status] += 1

    @property
    def requests(self) -> int:
        """How many were asked."""
        return sum(len(spans) for spans in self.spans.values())

    def milliseconds(self, operation: str | None = None) -> list[float]:
        """Latencies in ascending order, of one operation or of all."""
        chosen = [self.spans[operation]] if operation else list(self.spans.values())
        return sorted(1000 * (ended - due) for spans in chosen for due, ended in spans)

    def stalls(self, longer_than_seconds: float) -> list[Stall]:
        """The stretches between two answers in which one was owed all the time."""
        by_end = sorted((ended, due) for spans in self.spans.values() for due, ended in spans)
        found: list[Stall] = []
        oldest_due = float("inf")
        for place in range(len(by_end) - 1, -1, -1):
            ended, due = by_end[place]
            oldest_due = min(oldest_due, due)  # of what was answered now or later
            since = max(oldest_due, by_end[place - 1][0]) if place else oldest_due
            if ended - since > longer_than_seconds:
                found.append(Stall(since - self._began, ended - since))
        return found[::-1]

    @property
    def _began(self) -> float:
        return min((due for spans in self.spans.values() for due, _ in spans), default=0.0)


def percentile(ascending: Sequence[float], share: float) -> float:
    """The value below which this share lies; 0.0 of nothing."""
    return ascending[min(int(share * len(ascending)), len(ascending) - 1)] if ascending else 0.0
