"""Intervals against textbook values, and what they say about a limit."""

import math

import pytest

from knowledge_migration.engine.cutover.gates import Interval, LogSums, judge, proportion, ratio, ratio_of_means


def sums(*values: float) -> LogSums:
    logs = [math.log(value) for value in values]
    return LogSums(len(logs), sum(logs), sum(log * log for log in logs))


@pytest.mark.parametrize(
    ("hits", "sample", "low", "high"),
    [(0, 381, 0.0, 0.00998), (0, 100, 0.0, 0.03699), (10, 100, 0.05523, 0.17437), (100, 100, 0.96301, 1.0)],
)
def test_a_share_has_wilsons_interval(hits: int, sample: int, low: float, high: float) -> None:
    found = proportion(hits, sample)
    assert found
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))
    assert found.value == hits / sample


def test_no_sample_is_no_number() -> None:
    assert proportion(0, 0) is None
    assert ratio(sums(1.0), sums(1.0, 2.0)) is None
    assert ratio_of_means((1, 1.0, 0.0), (10, 1.0, 0.0)) is None


def test_the_ratio_of_durations_is_that_of_the_geometric_means_within_its_interval() -> None:
    control, treated = sums(*[0.5, 2.0] * 50), sums(*[0.75, 3.0] * 50)
    found = ratio(treated, control)
    assert found
    assert found.value == pytest.approx(1.5)
    assert found.low == pytest.approx(1.5 / found.high * 1.5)
    assert (found.low, found.high) == (pytest.approx(1.236, abs=0.01), pytest.approx(1.820, abs=0.01))


def test_one_slow_request_does_not_decide() -> None:
    found = ratio(sums(*[1.0, 1.1] * 50, 30.0), sums(*[1.0, 1.1] * 50))
    assert found
    assert found.value < 1.04


def test_the_ratio_of_means_has_an_interval_that_shrinks_with_the_sample() -> None:
    few, many = ratio_of_means((20, 3.0, 4.0), (20, 2.0, 4.0)), ratio_of_means((2000, 3.0, 4.0), (2000, 2.0, 4.0))
    assert few
    assert many
    assert few.value == many.value == pytest.approx(1.5)
    assert few.low < 1.1 < many.low < many.high < few.high


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.0, 0.009, "pass"), (0.0, 0.01, "pass"), (0.005, 0.02, "inconclusive"), (0.011, 0.02, "fail")],
)
def test_a_verdict_needs_the_whole_interval(low: float, high: float, verdict: str) -> None:
    assert judge(Interval((low + high) / 2, low, high), "at most", 0.01) == verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.5, 0.7, "pass"),
        (0.45, 0.6, "inconclusive"),
        (0.6, 0.75, "inconclusive"),
        (0.1, 0.4, "fail"),
        (0.8, 0.9, "fail"),
    ],
)
def test_a_range_has_two_ends(low: float, high: float, verdict: str) -> None:
    assert judge(Interval((low + high) / 2, low, high), "between", 0.5, 0.7) == verdict
