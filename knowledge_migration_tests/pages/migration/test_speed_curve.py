"""The curve of the backfill's speed: each level holds until the next change."""

from datetime import UTC, datetime, timedelta

from knowledge_migration.engine.status.model import SpeedChange
from knowledge_migration.pages.migration.speed_curve import HEIGHT, WIDTH, marks_of, steps_of

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def change(seconds: float, level: float) -> SpeedChange:
    """A change so many seconds after the first; the signals were read four seconds later for the last time."""
    at = START + timedelta(seconds=seconds)
    return SpeedChange(at, level, None, "none", "why", 0.0, at + timedelta(seconds=4))


def test_a_level_holds_until_the_next_change_and_the_last_until_the_last_reading() -> None:
    marks = marks_of([change(0, 1), change(2, 0.5), change(4, 0)])

    assert marks == [(0, 0), (WIDTH / 4, HEIGHT / 2), (WIDTH / 2, HEIGHT)]
    assert steps_of(marks) == [
        (0, 0), (WIDTH / 4, 0), (WIDTH / 4, HEIGHT / 2), (WIDTH / 2, HEIGHT / 2), (WIDTH / 2, HEIGHT),
        (WIDTH, HEIGHT), (WIDTH, HEIGHT),
    ]  # fmt: skip


def test_several_workers_have_their_highest_level_at_the_top() -> None:
    assert marks_of([change(0, 1), change(2, 2)]) == [(0, HEIGHT / 2), (WIDTH / 3, 0)]


def test_one_change_is_a_line() -> None:
    assert steps_of(marks_of([change(0, 1)])) == [(0, 0), (WIDTH, 0), (WIDTH, 0)]
