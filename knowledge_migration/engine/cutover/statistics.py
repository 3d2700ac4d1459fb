"""How sure a measured number is: intervals of 95 % confidence, and what they say about a limit. Pure functions."""

import math
from dataclasses import dataclass
from typing import Literal

Z_95 = 1.959964
Verdict = Literal["pass", "fail", "inconclusive"]
Comparison = Literal["at most", "between"]


@dataclass(frozen=True)
class Interval:
    """A number and the range in which it lies with 95 % confidence; an exact one is its own range."""

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
    """How many values there were, and the sums of their logarithms and of their squares."""

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
    """How many times the geometric mean of `treated` is that of `control`; None where one has less than two values.

    Durations are skewed to the right, so their logarithms are compared: one slow request does not decide.
    """
    if min(treated.count, control.count) < 2:
        return None
    difference = treated.mean - control.mean
    margin = Z_95 * math.sqrt(treated.variance_of_mean + control.variance_of_mean)
    return Interval(math.exp(difference), math.exp(difference - margin), math.exp(difference + margin))


Arm = tuple[int, float, float]
"""Of values: how many, their mean, their variance."""


def ratio_of_means(treated: Arm, control: Arm) -> Interval | None:
    """How many times the mean of `treated` is that of `control`; None where one has less than two values or no mean."""
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
