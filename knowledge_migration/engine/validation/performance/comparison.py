"""The latency of the application's endpoints now and before the migration (strategy §2.1, §6.4: less than 20 % slower).

The endpoint queries of the baseline are measured again with the same rows. Control queries, which read no table, normalise
for machine speed: their round trip and their constant work give the expected latency of each query. Pages have no control.
A result above the limit is measured again, and the best round counts. Reads only.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
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
    """One query or page before and now; `expected_ms` is its median before, normalised for machine speed."""

    name: str
    baseline_p50_ms: float
    p50_ms: float
    baseline_p95_ms: float
    p95_ms: float
    expected_ms: float

    @property
    def ratio(self) -> float:
        """The median now divided by the expected median."""
        return self.p50_ms / self.expected_ms

    @property
    def p95_ratio(self) -> float:
        """Of the 95th percentiles, not normalised. Reported, not judged: it is uncertain with some hundred samples."""
        return self.p95_ms / self.baseline_p95_ms

    def as_row(self, named: str) -> dict[str, Any]:
        """For a table and the evidence; `named` is the key of the name."""
        numbers = {key: round(value, 4) for key, value in asdict(self).items() if key != "name"}
        return {named: self.name, **numbers, "ratio": round(self.ratio, 4), "p95_ratio": round(self.p95_ratio, 4)}


@dataclass(frozen=True)
class Machine:
    """Machine speed by the controls: milliseconds of a round trip before and now, and the ratio of constant work."""

    round_trip_before_ms: float = 0.0
    round_trip_ms: float = 0.0
    work_ratio: float = 1.0

    def expected_ms(self, before_ms: float) -> float:
        """The latency today of what took `before_ms` in the baseline, if only the machine changed."""
        return self.round_trip_ms + max(0.0, before_ms - self.round_trip_before_ms) * self.work_ratio


@dataclass(frozen=True)
class Comparison:
    """All comparisons after a phase; names that are not in the baseline are listed and not compared."""

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
        """The largest ratio of all queries and pages."""
        return max(one.ratio for one in self.everything)

    @property
    def passed(self) -> bool:
        """Whether every ratio is within the limit."""
        return self.slowest_ratio <= self.limit_ratio

    def as_frame(self) -> "pd.DataFrame":
        """One row per query or page, for the plot."""
        import pandas as pd

        return pd.DataFrame([one.as_row("query") for one in self.everything])

    def to_evidence(self) -> dict[str, Any]:
        """As JSON, for the evidence `performance_comparison`."""
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
    """Measures and compares, up to `rounds` times while the result is above the limit.

    Raises `PreconditionError` without a baseline, `VerificationError` if it holds none of the endpoint queries.
    """
    before = evidence.require(connection, "performance_baseline", made_by="performance_baseline").content
    compared: list[Comparison] = []
    while len(compared) < rounds and not (compared and compared[-1].passed):
        now = baseline.measure(connection, samples=samples)
        compared.append(compare(before, now, pages(), phase=phase, limit_ratio=limit_ratio))
    best = min(compared, key=lambda one: one.slowest_ratio)
    return replace(best, rounds=len(compared))


def compare(
    before: Mapping[str, Any],
    now: Baseline,
    pages: Sequence[PageLatency],
    *,
    phase: str,
    limit_ratio: float,
) -> Comparison:
    """Compares a measurement with the content of a baseline's evidence."""
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
    """By the controls of both; a baseline without controls is not normalised."""
    control, round_trip = before.get("control"), before.get("round_trip")
    if not (control and round_trip and now.control and now.round_trip):
        return Machine()
    work_before = control["median_ms"] - round_trip["median_ms"]
    work = now.control.median_ms - now.round_trip.median_ms
    ratio = work / work_before if min(work, work_before) > 0 else 1.0
    return Machine(round_trip["median_ms"], now.round_trip.median_ms, ratio)


def comparison_outcome(compared: Comparison) -> CheckOutcome:
    """Whether every endpoint is within the limit."""
    slower = [one.as_row("query") for one in compared.everything if one.ratio > compared.limit_ratio]
    machine = compared.control.ratio if compared.control else None
    return CheckOutcome(
        name="endpoints_are_as_fast_as_before",
        count=len(slower),
        sample=tuple(slower),
        description=f"No endpoint takes more than {compared.limit_ratio:g} times its latency in the baseline.",
        remedy=(
            "Measure again at a quieter time (materialize performance_comparison). If the result stays, check the query's "
            "plan, bloat of topics and atoms (VACUUM), and other load on the server."
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
