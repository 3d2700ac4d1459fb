"""The threshold table of the cutover: every threshold of strategy §6.4, §8.1, §9.3 and §11.1, once.

Where the strategy has two values for one metric (errors < 1 % and > 5 %), the first promotes and the second is a breach,
evaluated over the last minutes only (ERRATA C15). `slow …` are the strategy's p95 limits: p95 is within a limit when at
most 5 % of the requests exceed it, and a share has a confidence interval.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

Stage = Literal["internal_beta", "gradual_rollout", "full_cutover"]
STAGES: tuple[Stage, ...] = ("internal_beta", "gradual_rollout", "full_cutover")
Comparison = Literal["at most", "between"]
MetricName = Literal[
    "api_error_rate",
    "proposal_error_rate",
    "extraction_slowdown",
    "slow_extractions",
    "slow_proposal_lists",
    "slow_run_histories",
    "slow_similarity_lists",
    "slow_review_pages",
    "pool_exhaustion",
    "inconsistencies",
    "open_shadow_failures",
    "straggler_lag",
    "queue_depth",
    "auto_approval_rate",
    "review_seconds",
    "proposals_per_message",
]
BreachAction = Literal["instant", "partial", "lower threshold"]
FIXED = ("metric", "comparison", "unit", "source", "meaning")
"""The fields of a gate that define it; CUTOVER_GATES changes the others."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class Gate:
    """One line of the threshold table.

    `threshold` (and `upper` of a range) has the metric's `unit`; a unit "of …" is a share. `limit_seconds` defines "slow".
    A metric is measured over `window_minutes`, but not from before the last change of the cutover state, and is
    inconclusive below `minimum_sample`. It has to pass `passes_in_a_row` times for the promotions in `stages`; without
    stages it is only watched. Beyond `breach` the guard does `on_breach`: it measures the last `breach_window_minutes`
    only, so that a good morning does not hide a bad minute, and needs `breach_sample`.
    """

    metric: MetricName
    comparison: Comparison
    threshold: float
    unit: str
    window_minutes: Annotated[float, Field(gt=0)]
    minimum_sample: Annotated[int, Field(ge=0)]
    passes_in_a_row: Annotated[int, Field(ge=1)]
    stages: tuple[Stage, ...]
    source: str
    meaning: str
    upper: float | None = None
    limit_seconds: Annotated[float | None, Field(gt=0)] = None
    breach: float | None = None
    on_breach: BreachAction | None = None
    breach_window_minutes: Annotated[float, Field(gt=0)] = 10.0
    breach_sample: Annotated[int, Field(ge=0)] = 30

    @property
    def watched(self) -> "Gate":
        """The gate of the guard: its limit is the breach."""
        assert self.breach is not None  # only gates with a breach are watched
        return replace(
            self,
            threshold=self.breach,
            window_minutes=self.breach_window_minutes,
            minimum_sample=self.breach_sample,
            passes_in_a_row=1,
        )

    @property
    def is_share(self) -> bool:
        """Whether the values are shares of all `noun`, shown as percentages."""
        return self.unit.startswith("of ")

    @property
    def noun(self) -> str:
        """The things that are counted: requests, rows."""
        return self.unit.removeprefix("of ")

    @property
    def limit(self) -> str:
        """The limit with its unit."""
        low, high = self.number(self.threshold), self.number(self.threshold if self.upper is None else self.upper)
        span = high if self.comparison == "at most" else f"{low}–{high}"
        return f"{span} % {self.unit}" if self.is_share else f"{span} {self.unit}"

    def number(self, value: float) -> str:
        """A value rounded for a message; a share in percent, without its sign."""
        scaled, digits = (100 * value, 2) if self.is_share else (value, 3)
        return f"{scaled:.{digits}g}" if abs(scaled) < 10**digits - 0.5 else f"{scaled:,.0f}"


GATE = TypeAdapter(Gate)
DAY, HOUR = 24 * 60.0, 60.0
PROPOSALS_FLOW = STAGES[1:]
"""Promotions before which the extractions of some users are proposals already."""

GATES: tuple[Gate, ...] = (
    Gate(
        "api_error_rate", "at most", 0.01, "of requests", HOUR, 400, 3, STAGES, "§6.4, §8.1, §11.1",
        "Requests that failed through no fault of the caller, of all users.",
        breach=0.05, on_breach="instant", breach_sample=100,
    ),
    Gate(
        "proposal_error_rate", "at most", 0.05, "of extractions", DAY, 75, 3, PROPOSALS_FLOW, "§8.1",
        "Extractions in proposal mode that failed: reads would hide them among all requests.",
        breach=0.05, on_breach="instant",
    ),
    Gate(
        "extraction_slowdown", "at most", 1.2, "times direct or dual write", DAY, 50, 3, PROPOSALS_FLOW, "§6.4, §8.1, §11.1",
        "How long extractions in proposal mode take, against the other users' of the same time, else against the last ones.",
        breach=1.5, on_breach="partial", breach_window_minutes=30,
    ),
    Gate(
        "slow_extractions", "at most", 0.05, "of extractions", DAY, 75, 3, STAGES, "§9.3",
        "Extractions that took longer than 2 s, in any mode.", limit_seconds=2.0,
    ),
    Gate(
        "slow_proposal_lists", "at most", 0.05, "of queries", HOUR, 75, 1, STAGES, "§9.3, §11.1",
        "Pages of the review queue that took longer than 100 ms, asked for now.", limit_seconds=0.1,
    ),
    Gate(
        "slow_run_histories", "at most", 0.05, "of queries", HOUR, 75, 1, STAGES, "§9.3",
        "Pages of the run history that took longer than 200 ms, asked for now.", limit_seconds=0.2,
    ),
    Gate(
        "slow_similarity_lists", "at most", 0.05, "of queries", HOUR, 75, 1, STAGES, "§9.3",
        "Pages of similar proposals that took longer than 500 ms, asked for now.", limit_seconds=0.5,
    ),
    Gate(
        "slow_review_pages", "at most", 0.05, "of requests", DAY, 20, 1, (), "§11.1",
        "Loads of the review page that took longer than 2 s.", limit_seconds=2.0,
    ),
    Gate(
        "pool_exhaustion", "at most", 0, "requests", DAY, 100, 1, STAGES, "§9.3, §11.1",
        "Requests that got no connection to the database in time.",
    ),
    Gate(
        "inconsistencies", "at most", 0, "rows", DAY, 1, 3, STAGES, "§8.1, §11.1",
        "Knowledge without its proposal, approved proposals without their knowledge, extractions without their proposals.",
        breach=0, on_breach="instant", breach_window_minutes=DAY, breach_sample=1,
    ),
    Gate(
        "open_shadow_failures", "at most", 0, "extractions", DAY, 0, 1, STAGES, "§4.2",
        "Direct writes whose proposals could not be written and are not repaired.",
    ),
    Gate(
        "straggler_lag", "at most", 600, "seconds", DAY, 0, 1, STAGES, "§4.2",
        "For how long the oldest row that was written since the backfill has had no proposal.",
    ),
    Gate(
        "queue_depth", "at most", 1_000, "proposals", HOUR, 0, 3, STAGES, "§6.4, §8.1",
        "Proposals that wait for review now.", breach=1_000, on_breach="lower threshold", breach_sample=0,
    ),
    Gate(
        "auto_approval_rate", "between", 0.5, "of proposals", DAY, 100, 1, (), "§6.4, §11.1",
        "Proposals of proposal mode that needed no reviewer.", upper=0.7,
    ),
    Gate(
        "review_seconds", "at most", 30, "seconds", 7 * DAY, 20, 1, (), "§6.4",
        "From one decision of a reviewer to the next, the median of those less than ten minutes apart.",
    ),
    Gate(
        "proposals_per_message", "between", 0.8, "times dual write", DAY, 50, 1, (), "§6.4",
        "Proposals made of a message in proposal mode, against dual write: as many as before.", upper=1.25,
    ),
)  # fmt: skip

BAKE_MINUTES: dict[Stage, float] = {"internal_beta": DAY, "gradual_rollout": DAY, "full_cutover": DAY}
"""Bake time of the state before a stage: dual write, then a day per stage (§6.1)."""


def changed_gates(changes: object) -> object:
    """The threshold table with the changes of a mapping {metric: {field: value}}; a tuple is the whole table already.

    Raises `ValueError` for a metric or a field that does not exist: a misspelt one would change nothing, silently.
    """
    if isinstance(changes, tuple):
        return changes
    if not isinstance(changes, Mapping) or not all(isinstance(change, Mapping) for change in changes.values()):
        raise ValueError("is not a JSON object of metrics and their changes")
    unknown = sorted(changes.keys() - {gate.metric for gate in GATES})
    if unknown:
        raise ValueError(f"names no gate: {', '.join(unknown)}; there are {', '.join(gate.metric for gate in GATES)}")
    return tuple(_changed(gate, changes.get(gate.metric, {})) for gate in GATES)


def changes(gates: Iterable[Gate]) -> dict[str, dict[str, Any]]:
    """What differs from the threshold table: the value of CUTOVER_GATES that makes these gates."""
    defaults = {gate.metric: asdict(gate) for gate in GATES}
    differing = {
        gate.metric: {name: value for name, value in asdict(gate).items() if value != defaults[gate.metric][name]}
        for gate in gates
    }
    return {metric: change for metric, change in differing.items() if change}


def _changed(gate: Gate, change: Mapping[str, Any]) -> Gate:
    fixed = [name for name in FIXED if name in change]
    if fixed:
        raise ValueError(f"cannot change {', '.join(fixed)} of {gate.metric}")
    try:
        return GATE.validate_python({**asdict(gate), **change})
    except ValidationError as error:
        refused = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise ValueError(f"refuses {gate.metric}: {refused}") from error


DEMONSTRATION: Mapping[str, object] = {
    "cutover_evaluation_seconds": 0.5,
    "dual_write_watch_seconds": 1.0,
    "migration_rate_limit_per_second": 10.0,
    "cutover_bake_minutes": dict.fromkeys(STAGES, 0.1),
    "cutover_gates": {
        "api_error_rate": {"minimum_sample": 200, "threshold": 0.02},
        "proposal_error_rate": {
            "minimum_sample": 40,
            "threshold": 0.1,
            "breach_window_minutes": 1,
            "breach_sample": 30,
        },
        "extraction_slowdown": {"minimum_sample": 30, "threshold": 2.0, "breach": 4.0},
        "slow_extractions": {"limit_seconds": 30.0},
        "slow_proposal_lists": {"limit_seconds": 2.0},
        "slow_run_histories": {"limit_seconds": 2.0},
        "slow_similarity_lists": {"limit_seconds": 2.0},
    },
    "knowledge_proposals_admin_user_ids": tuple(range(1, 1_000, 2)),
}
"""The settings of an installation that names no database, unless a variable says otherwise: times and samples of seconds.

The local extractor takes ten milliseconds, so the write is a large part of an extraction, and a slowdown of 2 is small. The
limits of slow queries allow for a machine that does other work, and the backfill has the strategy's rate. Every second user is
an admin. All else is as in production.
"""
