"""Repeated executions are interleaved, warmed up, bounded by a budget, and stopped by a timeout."""

import itertools
from collections.abc import Callable

import pytest

from knowledge_migration.engine.foundation.timing import Latency, Samples, time_interleaved


def ticking(*steps: float) -> Callable[[], float]:
    """A clock that advances by these seconds, over and over."""
    times = itertools.accumulate(itertools.cycle(steps), initial=0.0)
    return lambda: next(times)


def test_executions_are_interleaved_and_warm_up_rounds_do_not_count() -> None:
    calls: list[str] = []
    rounds: list[int] = []
    executions = [lambda: calls.append("a"), lambda: calls.append("b")]
    results = time_interleaved(
        executions, samples=2, warm_up=1, clock=ticking(1.0, 0.0, 3.0, 0.0), after_round=rounds.append
    )
    assert calls == ["a", "b"] * 3
    assert rounds == [1, 2]
    assert [result.seconds for result in results] == [[1.0, 1.0], [3.0, 3.0]]
    assert [result.spent_seconds for result in results] == [3.0, 9.0]


def test_an_execution_stops_when_its_budget_is_spent_and_it_has_the_fewest_samples() -> None:
    results = time_interleaved(
        [lambda: None], samples=50, warm_up=1, clock=ticking(1.0, 0.0), budget_seconds=2.0, fewest_samples=4
    )
    assert results[0].seconds == [1.0] * 4


def test_a_timeout_is_the_only_sample_and_any_other_error_propagates() -> None:
    def fail() -> None:
        raise TimeoutError

    result = time_interleaved(
        [fail], samples=9, warm_up=2, clock=ticking(7.0), is_timeout=lambda error: isinstance(error, TimeoutError)
    )[0]
    assert (result.timed_out, result.seconds) == (True, [7.0])
    with pytest.raises(TimeoutError):
        time_interleaved([fail], samples=1, warm_up=0)


def test_percentiles_are_in_milliseconds() -> None:
    assert Samples([0.001 * n for n in range(1, 102)]).latency() == Latency(101, 51.0, 96.0, 100.0, 101.0)
