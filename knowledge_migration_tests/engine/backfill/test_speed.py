"""The closed loop without a database: the next speed after a reading, the pauses and sizes of batches, the limits."""

import pytest

from knowledge_migration.engine.backfill.control import Control, Throttle, rate_text, size_text
from knowledge_migration.engine.backfill.signals import SignalReading, slowdown
from knowledge_migration.engine.backfill.speed import FLOOR, START, PresentSpeed, Speed, next_speed
from knowledge_migration.pressure import SIGNALS, Grade, Signal, changed_signals
from knowledge_migration.settings import BackfillSettings

BY_NAME = {signal.name: signal for signal in SIGNALS}
LAG = BY_NAME["replay_lag"]
FULL = Speed(1.0, None, "none", "")


def lag(seconds: float | None) -> SignalReading:
    """A reading of a replica."""
    return SignalReading(LAG, seconds, "replica 1", "" if seconds is not None else "GRANT it")


@pytest.mark.parametrize(
    ("before", "readings", "workers", "level", "grade"),
    [
        (None, [], 1, START, "none"),
        (None, [lag(6)], 1, START / 2, "soft"),
        (FULL, [lag(0)], 1, 1.0, "none"),
        (FULL, [lag(0)], 3, 1.1, "none"),
        (Speed(2.95, None, "none", ""), [lag(0)], 3, 3.0, "none"),
        (Speed(3.0, None, "none", ""), [lag(0)], 1, 1.0, "none"),
        (Speed(3.0, None, "none", ""), [lag(5)], 1, 0.5, "soft"),
        (FULL, [lag(5)], 1, 0.5, "soft"),
        (Speed(0.03, None, "soft", ""), [lag(5)], 1, FLOOR, "soft"),
        (FULL, [lag(0), lag(10), lag(5)], 1, 0.0, "hard"),
        (FULL, [lag(10), lag(None)], 1, 0.0, "unreadable"),
        (Speed(0.0, "replay_lag", "hard", ""), [lag(5)], 1, FLOOR, "soft"),
        (Speed(0.0, "replay_lag", "hard", ""), [lag(4)], 1, 0.1, "none"),
        (FULL, [lag(None), SignalReading(BY_NAME["free_disk"], 1.9)], 1, 0.0, "critical"),
    ],
)
def test_pressure_halves_the_speed_and_its_absence_adds_to_it(
    before: Speed | None, readings: list[SignalReading], workers: int, level: float, grade: Grade
) -> None:
    after = next_speed(before, readings, workers)

    assert (after.level, after.grade) == (level, grade)


def test_a_reason_names_signal_subject_value_limit_and_next_step() -> None:
    assert next_speed(FULL, [lag(12)], 1).reason == (
        "replay_lag of replica 1 is 12 s (hard limit 10). Let it catch up: resume its replay, or look what it waits for."
    )
    assert next_speed(FULL, [lag(None)], 1).reason == (
        "replay_lag of replica 1 cannot be read: GRANT it, or disable it with MIGRATION_DISABLED_SIGNALS='[\"replay_lag\"]'."
    )


def test_a_low_value_is_the_bad_one_where_the_signal_falls() -> None:
    disk = BY_NAME["free_disk"]

    assert [disk.grade(value) for value in (11, 10, 5, 2)] == ["none", "soft", "hard", "critical"]


def test_limits_change_one_by_one_and_a_disabled_signal_is_not_read() -> None:
    changed = changed_signals({"replay_lag": {"soft": 2, "hard": None}}, ("canary",))

    assert len(changed) == len(SIGNALS) - 1
    assert [(one.soft, one.hard) for one in changed if one.name == "replay_lag"] == [(2, None)]


@pytest.mark.parametrize(
    ("changes", "disabled", "reason"),
    [
        ({"lag": {"soft": 1}}, (), "names no signal: lag"),
        ({}, ("lag",), "names no signal: lag"),
        ({"replay_lag": {"most": 1}}, (), "names no limit: most"),
        ({"replay_lag": {"soft": 20}}, (), "orders the limits of replay_lag"),
        ({"free_disk": {"soft": 1}}, (), "orders the limits of free_disk"),
    ],
)
def test_a_limit_that_means_nothing_is_refused(
    changes: dict[str, dict[str, float | None]], disabled: tuple[str, ...], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        BackfillSettings(signal_limits=changes, disabled_signals=disabled)


def automatic(share: float = 1.0, **settings: int) -> Throttle:
    """A throttle at that share of its time."""
    throttle = Throttle(BackfillSettings(**settings))
    throttle._share = share
    return throttle


def test_batches_grow_towards_a_tenth_of_a_second_and_shrink_back() -> None:
    throttle, size, sizes = automatic(), 100, []
    for _ in range(8):
        size = throttle.next_size(size, size, seconds=size / 10_000)
        sizes.append(size)

    assert sizes == [200, 400, 800, 1_000, 1_000, 1_000, 1_000, 1_000]
    assert throttle.next_size(1_000, 1_000, seconds=0.4) == 500
    assert throttle.next_size(1_000, 1_000, seconds=0.2) == 500
    assert automatic(max_batch_size=600).next_size(500, 500, seconds=0.01) == 600


def test_a_batch_that_is_not_full_says_nothing_about_the_size() -> None:
    assert automatic().next_size(1_000, 3, seconds=0.001) == 1_000
    assert automatic().next_size(1_000, 3, seconds=0.2) == 500
    assert automatic().next_size(1, 1, seconds=0.001) == 2


def test_at_a_lower_speed_batches_are_shorter_and_pauses_longer() -> None:
    assert automatic(share=0.5).next_size(1_000, 1_000, seconds=0.1) == 500
    assert automatic(share=0.02).next_size(1_000, 1_000, seconds=0.01) == 1_000
    throttle = automatic(share=0.25)
    throttle.limits = throttle.limits.replaced(clock=lambda: 7.0, control_interval_seconds=60)
    throttle.next_size(1_000, 1_000, seconds=0.1)
    throttle._read_at = throttle._last_start = 6.9

    assert throttle._seconds_left(None) == pytest.approx(0.3)  # type: ignore[arg-type]


def test_an_operators_rate_and_size_are_caps() -> None:
    throttle = automatic()
    assert (throttle.rate, throttle.batch_size) == (0, 5_000)
    throttle._control = Control(paused=False, batch_size=300, rate_limit_per_second=4)

    assert (throttle.rate, throttle.next_size(200, 200, seconds=0.01)) == (4, 300)
    assert rate_text(throttle.limits, 4) == "automatic speed, at most 4 batches per second"
    assert size_text(throttle.limits, 300) == "at most 300 rows per batch"
    fixed = BackfillSettings(rate_limit_per_second=10)
    assert (rate_text(fixed, None), rate_text(fixed, 0)) == ("10 batches per second", "no rate limit")
    assert size_text(fixed, None) == "100 rows per batch"


def test_the_workers_share_the_speed() -> None:
    assert [Speed(level, None, "none", "").share(workers) for level, workers in ((1, 1), (1, 4), (3, 2), (0, 2))] == [
        1, 0.25, 1, 0,
    ]  # fmt: skip


def test_a_reading_that_is_not_fresh_is_an_obstacle() -> None:
    fresh = PresentSpeed(1.0, None, "none", "", id=1, age_seconds=2, workers=1)
    stale = PresentSpeed(1.0, None, "none", "", id=1, age_seconds=11, workers=1)

    assert fresh.obstacle() is None
    assert stale.obstacle() == "the signals of the database have not been read for 11 s"


def test_statements_are_compared_with_their_own_mean() -> None:
    before = {1: (100.0, 100.0), 2: (100.0, 1_000.0)}

    assert slowdown(before, {1: (200.0, 200.0), 2: (100.0, 1_000.0), 3: (900.0, 9e9)}) == 1
    assert slowdown(before, {1: (150.0, 200.0), 2: (150.0, 2_000.0)}) == 2
    assert slowdown(before, {1: (110.0, 900.0)}) is None
    assert slowdown(before, {1: (1.0, 1.0)}) is None


def test_every_signal_has_limits_and_a_next_step() -> None:
    def speaks(signal: Signal) -> bool:
        return all(text.endswith(".") for text in (signal.meaning, signal.remedy)) and signal.soft is not None

    assert [one.name for one in SIGNALS if not speaks(one)] == []
