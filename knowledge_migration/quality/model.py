"""What a suite demands of one table, in the notation of Great Expectations, and what came of it. Plain data."""

from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["critical", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "info")
"""From worst to mildest. Critical: the data must not be signed off; warning and info: known to occur, and to be looked at."""


@dataclass(frozen=True)
class Expectation:
    """One demand: `type` and `kwargs` as Great Expectations names them, `rule` in plain words, `remedy` what to do."""

    type: str
    kwargs: dict[str, Any]
    severity: Severity
    rule: str
    remedy: str = ""


@dataclass(frozen=True)
class Suite:
    """The demands on one table of a schema. `file` is where a user wrote them; None for those of the project."""

    name: str
    table: str
    expectations: tuple[Expectation, ...]
    schema: str = "public"
    file: str | None = None


@dataclass(frozen=True)
class ExpectationOutcome:
    """Whether one demand is met; `count` is exact where rows are counted, None where a type is compared."""

    expectation: Expectation
    met: bool
    count: int | None = None
    sample: tuple[Any, ...] = ()
    observed: str = ""

    def as_row(self) -> dict[str, Any]:
        """One row of the table of what is not met."""
        return {
            "expectation": self.expectation.rule,
            "severity": self.expectation.severity,
            "unexpected": self.observed if self.count is None else self.count,
            "sample": "; ".join(str(value) for value in self.sample),
            "what_to_do": self.expectation.remedy,
        }


@dataclass(frozen=True)
class SuiteOutcome:
    """What came of a suite."""

    suite: Suite
    outcomes: tuple[ExpectationOutcome, ...]
    seconds: float
    page: str = field(default="", compare=False)

    @property
    def failed(self) -> tuple[ExpectationOutcome, ...]:
        """The demands that are not met, the worst first."""
        broken = (outcome for outcome in self.outcomes if not outcome.met)
        return tuple(sorted(broken, key=lambda outcome: SEVERITIES.index(outcome.expectation.severity)))

    @property
    def critical(self) -> int:
        """How many of them are critical."""
        return sum(outcome.expectation.severity == "critical" for outcome in self.failed)

    @property
    def passed(self) -> bool:
        """True when no critical demand is broken."""
        return self.critical == 0

    @property
    def worst(self) -> Severity | None:
        """The severity of the worst broken demand; None when all are met."""
        return self.failed[0].expectation.severity if self.failed else None

    def as_row(self) -> dict[str, Any]:
        """As the evidence keeps it."""
        return {
            "suite": self.suite.name,
            "table": self.suite.table,
            "expectations": len(self.outcomes),
            "failed": len(self.failed),
            "critical": self.critical,
            "seconds": round(self.seconds, 3),
            "passed": self.passed,
        }
