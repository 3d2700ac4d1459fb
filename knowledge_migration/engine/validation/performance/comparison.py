"""Whether the application's endpoints are as fast as before the migration (strategy §2.1, §6.4: less than 20 % slower).

The endpoint queries of the baseline are measured again in the same way, of the same rows. The table as it was cannot be had
beside the table as it is, so the two measurements are of two days; controls that read no table were measured in turn with
the queries on both, and say how long each query would take today if only the machine had changed: its round trip, and its
work as much slower as constant work is. So a busier machine is not taken for a slower schema. Pages have no control: their
ratios are as they are. What seems too slow is measured again, and the best round counts: a disturbance passes, what really
is slower stays so. It reads only.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.check_outcome import CheckOutcome
from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.errors import VerificationError
from knowledge_migration.engine.preparation import baseline
from knowledge_migration.engine.preparation.baseline import Baseline
from knowledge_migration.engine.validation.performance.pages import PageLatency

if TYPE_CHECKING:
    import pandas as pd

KIND = "performance_comparison"
ROUNDS = 4


@dataclass(frozen=True)
class Compared:
    """One query or page before and now; `expected_ms` is its median before, as today's machine would have it."""

    name: str
    baseline_p50_ms: float
    p50_ms: float
    baseline_p95_ms: float
    p95_ms: float
    expected_ms: float

    @property
    def ratio(self) -> float:
        """How many times as long as before, by the medians and with the machine taken out."""
        return self.p50_ms / self.expected_ms

    @property
    def p95_ratio(self) -> float:
        """Of the 95th percentiles as they are; told, not judged: of some hundred samples it is much less certain."""
        return self.p95_ms / self.baseline_p95_ms

    def as_row(self, named: str) -> dict[str, Any]:
        """For a table and for the evidence."""
        numbers = {key: round(value, 4) for key, value in asdict(self).items() if key != "name"}
        return {named: self.name, **numbers, "ratio": round(self.ratio, 4), "p95_ratio": round(self.p95_ratio, 4)}


@dataclass(frozen=True)
class Machine:
    """What the controls say: milliseconds of a round trip then and now, and how much slower constant work is."""

    round_trip_before_ms: float = 0.0
    round_trip_ms: float = 0.0
    work_ratio: float = 1.0

    def expected_ms(self, before_ms: float) -> float:
        """What took so long before would take so long today."""
        return self.round_trip_ms + max(0.0, before_ms - self.round_trip_before_ms) * self.work_ratio


@dataclass(frozen=True)
class Comparison:
    """All of them after a phase; what was not in the baseline is named and not compared."""

    phase: str
    queries: tuple[Compared, ...]
    urls: tuple[Compared, ...]
    control: Compared | None
    not_in_the_baseline: tuple[str, ...]
    limit_ratio: float
    rounds: int = 1

    @property
    def everything(self) -> tuple[Compared, ...]:
        """Queries and pages."""
        return (*self.queries, *self.urls)

    @property
    def slowest_ratio(self) -> float:
        """The worst of all; there is always one."""
        return max(one.ratio for one in self.everything)

    @property
    def passed(self) -> bool:
        """Whether none is slower than the limit allows."""
        return self.slowest_ratio <= self.limit_ratio

    def as_frame(self) -> "pd.DataFrame":
        """One row a query or page, as it is plotted."""
        import pandas as pd

        return pd.DataFrame([one.as_row("query") for one in self.everything])

    def to_evidence(self) -> dict[str, Any]:
        """For the evidence, as JSON can hold it."""
        return {
            "phase": self.phase,
            "queries": [one.as_row("query") for one in self.queries],
            "urls": [one.as_row("url") for one in self.urls],
            "control": self.control.as_row("query") if self.control else None,
            "compared_with": "the baseline, measured at another time",
            "not_in_the_baseline": list(self.not_in_the_baseline),
            "rounds": self.rounds,
            "slowest_ratio": round(self.slowest_ratio, 4),
            "limit_ratio": self.limit_ratio,
            "passed": self.passed,
        }


def compare_within(
    connection: Connection,
    phase: str,
    *,
    samples: int,
    limit_ratio: float,
    pages: Callable[[], Sequence[PageLatency]] = tuple,
    rounds: int = ROUNDS,
) -> Comparison:
    """Measures now and compares; again, up to `rounds` times in all, while that is beyond the limit.

    Raises `PreconditionError` without a baseline, `VerificationError` where it holds nothing that can be compared.
    """
    before = evidence.require(connection, "performance_baseline", made_by="performance_baseline").content
    found: list[Comparison] = []
    while len(found) < rounds and not (found and found[-1].passed):
        now = baseline.measure(connection, samples=samples)
        found.append(compare(before, now, pages(), phase=phase, limit_ratio=limit_ratio, rounds=len(found) + 1))
    best = min(found, key=lambda one: one.slowest_ratio)
    return Comparison(**{**vars(best), "rounds": len(found)})


def compare(
    before: Mapping[str, Any],
    now: Baseline,
    pages: Sequence[PageLatency],
    *,
    phase: str,
    limit_ratio: float,
    rounds: int = 1,
) -> Comparison:
    """Holds a measurement against the content of a baseline's evidence."""
    queries = {row["query"]: row for row in before["queries"]}
    urls = {row["url"]: row for row in before.get("urls", ())}
    control = _compared("control", before["control"], now.control) if now.control and before.get("control") else None
    machine = _machine(before, now)
    compared = tuple(
        _compared(one.query, queries[one.query], one, machine) for one in now.latencies if one.query in queries
    )
    if not compared:
        raise VerificationError(
            "The performance baseline holds none of the endpoint queries, so nothing can be compared with it."
        )
    return Comparison(
        phase=phase,
        queries=compared,
        urls=tuple(_compared(page.url, urls[page.url], page) for page in pages if page.url in urls),
        control=control,
        not_in_the_baseline=(
            *(one.query for one in now.latencies if one.query not in queries),
            *(page.url for page in pages if page.url not in urls),
        ),
        limit_ratio=limit_ratio,
        rounds=rounds,
    )


def _compared(
    name: str,
    before: Mapping[str, Any],
    now: baseline.QueryLatency | PageLatency,
    machine: Machine = Machine(),
) -> Compared:
    expected = machine.expected_ms(before["median_ms"])
    return Compared(name, before["median_ms"], now.median_ms, before["p95_ms"], now.p95_ms, expected)


def _machine(before: Mapping[str, Any], now: Baseline) -> Machine:
    """By the controls of both; a baseline without them is taken as it is."""
    control, round_trip = before.get("control"), before.get("round_trip")
    if not (control and round_trip and now.control and now.round_trip):
        return Machine()
    work_before = control["median_ms"] - round_trip["median_ms"]
    work = now.control.median_ms - now.round_trip.median_ms
    ratio = work / work_before if min(work, work_before) > 0 else 1.0
    return Machine(round_trip["median_ms"], now.round_trip.median_ms, ratio)


def comparison_outcome(compared: Comparison) -> CheckOutcome:
    """Whether no endpoint is slower than the limit allows."""
    slower = [one.as_row("query") for one in compared.everything if one.ratio > compared.limit_ratio]
    machine = compared.control.ratio if compared.control else None
    return CheckOutcome(
        name="endpoints_are_as_fast_as_before",
        count=len(slower),
        sample=tuple(slower),
        description=(
            f"No endpoint takes more than {compared.limit_ratio:g} times as long as in the baseline, which is of another "
            "time."
        ),
        remedy=(
            "Measure again at a quieter time (materialize performance_comparison); if it stays, look at the query's plan "
            "and at bloat on topics and atoms (VACUUM), and at what else runs on the server."
        ),
        numbers={
            "phase": compared.phase,
            "slowest_ratio": round(compared.slowest_ratio, 3),
            "limit_ratio": compared.limit_ratio,
            "machine_ratio": None if machine is None else round(machine, 3),
            "not_in_the_baseline": ", ".join(compared.not_in_the_baseline) or None,
            "rounds": compared.rounds,
        },
    )
