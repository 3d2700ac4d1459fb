"""What a gate is: a metric, its limit, how much it has to be seen, which stages need it, and what a breach does.

The gates themselves, with the strategy's thresholds, stand once: in `knowledge_migration.thresholds`.
"""

from dataclasses import dataclass, replace
from typing import Literal

from knowledge_migration.engine.cutover.statistics import Comparison
from knowledge_migration.knowledge.stages import Stage

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
    "queue_depth",
    "auto_approval_rate",
    "review_seconds",
    "proposals_per_message",
]
BreachAction = Literal["instant", "partial", "lower threshold"]


@dataclass(frozen=True)
class Gate:
    """One line of the threshold table.

    `threshold` (and `upper` of a range) is in the metric's own unit; `limit_seconds` is what "slow" means where shares of
    slow requests are counted. A metric is looked at over `window_minutes`, but never further back than the present state
    of the flags stands, and says nothing below `minimum_sample`. It has to pass `passes_in_a_row` times for the
    promotions in `stages`; without any it is only watched. Beyond `breach` the guard does `on_breach`: it looks at the last
    `breach_window_minutes` only, so that a good morning does not hide a bad minute, and needs `breach_sample`.
    """

    metric: MetricName
    comparison: Comparison
    threshold: float
    unit: str
    window_minutes: float
    minimum_sample: int
    passes_in_a_row: int
    stages: tuple[Stage, ...]
    source: str
    meaning: str
    upper: float | None = None
    limit_seconds: float | None = None
    breach: float | None = None
    on_breach: BreachAction | None = None
    breach_window_minutes: float = 10.0
    breach_sample: int = 30

    @property
    def watched(self) -> "Gate":
        """The gate as the guard looks at it: its limit is the breach."""
        assert self.breach is not None  # only gates with a breach are watched
        return replace(
            self,
            threshold=self.breach,
            window_minutes=self.breach_window_minutes,
            minimum_sample=self.breach_sample,
            passes_in_a_row=1,
        )

    @property
    def limit(self) -> str:
        """The limit in words."""
        if self.comparison == "between":
            return f"{self.threshold:g} to {self.upper:g} {self.unit}"
        return f"at most {self.threshold:g} {self.unit}"
