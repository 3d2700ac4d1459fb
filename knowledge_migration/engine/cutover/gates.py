"""The statistics of the gates: intervals of 95 % confidence, and what they say about a limit. Pure functions."""

import math
from dataclasses import dataclass
from typing import Literal

from knowledge_migration.thresholds import Comparison

Z_95 = 1.959964
Verdict = Literal["pass", "fail", "inconclusive"]


def duration(seconds: float) -> str:
    """A time span with one unit: 45 s, 12.5 min, 3.2 h."""
    size, unit = (3600, "h") if seconds >= 3600 else (60, "min") if seconds >= 60 else (1, "s")
    return f"{seconds / size:.{0 if unit == 's' else 1}f} {unit}"


@dataclass(frozen=True)
class Interval:
    """A number and its 95 % confidence interval; an exact number is its own interval."""

    value: float
    low: float
    high: float

    @classmethod
    def exact(cls, value: float) -> "Interval":
        """A number that was counted, not sampled."""
        return cls(value, value, value)


def proportion(hits: int, sample: int) -> Interval | None:
    """The share of `hits`, with Wilson's interval; None for an empty sample. Zero of 381 is below 1 %, zero of 100 is not."""
    if sample == 0:
        return None
    share = hits / sample
    spread = Z_95**2 / sample
    centre = (share + spread / 2) / (1 + spread)
    margin = Z_95 * math.sqrt(share * (1 - share) / sample + spread / (4 * sample)) / (1 + spread)
    return Interval(share, max(0.0, centre - margin), min(1.0, centre + margin))


@dataclass(frozen=True)
class LogSums:
    """The number of values, and the sums of their logarithms and of the squares of these."""

    count: int
    total: float
    squares: float

    @property
    def mean(self) -> float:
        """The mean of the logarithms: the logarithm of the geometric mean."""
        return self.total / self.count

    @property
    def variance_of_mean(self) -> float:
        """The squared standard error of the mean."""
        variance = max(0.0, (self.squares - self.total * self.total / self.count) / (self.count - 1))
        return variance / self.count


def ratio(treated: LogSums, control: LogSums) -> Interval | None:
    """The geometric mean of `treated` divided by that of `control`; None where one has fewer than two values.

    Durations are skewed to the right, so their logarithms are compared: one slow request does not decide.
    """
    if min(treated.count, control.count) < 2:
        return None
    difference = treated.mean - control.mean
    margin = Z_95 * math.sqrt(treated.variance_of_mean + control.variance_of_mean)
    return Interval(math.exp(difference), math.exp(difference - margin), math.exp(difference + margin))


Arm = tuple[int, float, float]
"""The number, mean and variance of some values."""


def ratio_of_means(treated: Arm, control: Arm) -> Interval | None:
    """The mean of `treated` divided by that of `control`; None where one has fewer than two values or no mean."""
    if min(treated[0], control[0]) < 2 or min(treated[1], control[1]) <= 0:
        return None
    relative = [variance / (count * mean * mean) for count, mean, variance in (treated, control)]
    difference, margin = math.log(treated[1] / control[1]), Z_95 * math.sqrt(sum(relative))
    return Interval(math.exp(difference), math.exp(difference - margin), math.exp(difference + margin))


def judge(interval: Interval, comparison: Comparison, threshold: float, upper: float | None = None) -> Verdict:
    """Pass where the whole interval is within the limit, fail where all of it is beyond, else inconclusive."""
    lowest, highest = (-math.inf, threshold) if comparison == "at most" else (threshold, upper)
    assert highest is not None  # a range has two ends
    if lowest <= interval.low and interval.high <= highest:
        return "pass"
    if interval.high < lowest or interval.low > highest:
        return "fail"
    return "inconclusive"
