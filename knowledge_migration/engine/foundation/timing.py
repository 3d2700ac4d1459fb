"""Times repeated executions by an injected clock, and summarizes them as percentiles in milliseconds."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

Clock = Callable[[], float]


@dataclass(frozen=True)
class Latency:
    """Percentiles in milliseconds, interpolated between the nearest samples."""

    samples: int
    median_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


@dataclass
class Samples:
    """Seconds of each counted execution; `spent_seconds` includes the warm-up."""

    seconds: list[float] = field(default_factory=list)
    spent_seconds: float = 0.0
    timed_out: bool = False

    def latency(self) -> Latency:
        """The percentiles of the samples; there must be at least one."""
        return Latency(len(self.seconds), *percentiles_ms(self.seconds), round(max(self.seconds) * 1000, 4))


def percentiles_ms(seconds: Sequence[float]) -> tuple[float, float, float]:
    """Median, p95 and p99 in milliseconds."""
    median, p95, p99 = (round(float(value) * 1000, 4) for value in np.percentile(seconds, (50, 95, 99)))
    return median, p95, p99


def time_interleaved(
    executions: Sequence[Callable[[], object]],
    *,
    samples: int,
    warm_up: int,
    clock: Clock = time.perf_counter,
    budget_seconds: float = math.inf,
    fewest_samples: int = 1,
    is_timeout: Callable[[Exception], bool] = lambda _: False,
    after_round: Callable[[int], None] = lambda _: None,
) -> list[Samples]:
    """Calls each execution once per round, so that a slow minute affects all alike; the samples of each, in order.

    The first `warm_up` rounds do not count. An execution that has used its budget stops once it has `fewest_samples`.
    One that raises an error accepted by `is_timeout` stops with that time as its only sample; other errors propagate.
    `after_round` receives the number of counted rounds.
    """
    results = [Samples() for _ in executions]
    for round_number in range(1 - warm_up, samples + 1):
        for execute, result in zip(executions, results, strict=True):
            within_budget = result.spent_seconds < budget_seconds or len(result.seconds) < fewest_samples
            if within_budget and not result.timed_out:
                _take(execute, result, clock, is_timeout, counts=round_number > 0)
        if round_number > 0:
            after_round(round_number)
    return results


def _take(
    execute: Callable[[], object],
    result: Samples,
    clock: Clock,
    is_timeout: Callable[[Exception], bool],
    *,
    counts: bool,
) -> None:
    started = clock()
    try:
        execute()
    except Exception as error:
        if not is_timeout(error):
            raise
        result.timed_out = True
    seconds = clock() - started
    result.spent_seconds += seconds
    if result.timed_out:
        result.seconds = [seconds]
    elif counts:
        result.seconds.append(seconds)
