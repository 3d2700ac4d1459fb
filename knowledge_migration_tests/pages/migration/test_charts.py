"""The charts: where a value is in the picture, and where the line is interrupted."""

from datetime import UTC, datetime, timedelta

import pytest

from knowledge_migration.engine.status.model import Point, Queue, StatusSnapshot, Trend
from knowledge_migration.pages.migration.charts import FORMATS, HEIGHT, WIDTH, band, runs_of, scale_of, trends_of

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def point(minutes_ago: float, value: float, low: float | None = None, high: float | None = None) -> Point:
    """A value so many minutes ago."""
    return Point(NOW - timedelta(minutes=minutes_ago), value, low, high)


def test_the_limit_is_inside_the_picture_and_too_high_values_are_at_its_top() -> None:
    scale = scale_of(Trend("errors", "share", (point(30, 0.01),), 0.04), NOW)

    assert scale.y(0.04) == pytest.approx(HEIGHT * 0.2)
    assert scale.y(1.0) == 0
    assert scale.place(NOW - timedelta(minutes=30), 0.0) == f"{WIDTH / 2:.1f},{HEIGHT:.1f}"
    assert scale.place(NOW - timedelta(minutes=90), 0.0) == f"0.0,{HEIGHT:.1f}"


def test_only_zeros_without_a_limit_have_a_scale() -> None:
    assert scale_of(Trend("backfill", "rows per second", (point(1, 0.0),)), NOW).y(0.0) == HEIGHT


def test_the_line_is_interrupted_where_nothing_was_measured() -> None:
    points = (point(20, 1), point(19, 1), point(10, 1), point(9, 1), point(8, 1))

    assert [len(run) for run in runs_of(points)] == [2, 3]
    assert list(runs_of(())) == []


def test_the_interval_is_drawn_along_its_upper_and_back_along_its_lower_end() -> None:
    run = (point(60, 0.5, 0.25, 0.75), point(30, 0.5, 0.25, 1.0))
    scale = scale_of(Trend("errors", "share", (*run, point(0, 0.8)), None), NOW)

    assert list(band(run, scale)) == ["0.0,24.0", "300.0,0.0", "300.0,72.0", "0.0,72.0"]


def test_an_hour_is_shown_and_the_queue_ends_with_its_present_length() -> None:
    queue = Trend("review queue", "proposals", (point(61, 9), point(5, 3)), 10)
    snapshot = StatusSnapshot(NOW, "", 9, queues=(Queue("topic_proposals", 8, None),), trends=(queue,))

    assert trends_of(snapshot)[0].points == (point(5, 3), Point(NOW, 8.0))


def test_values_are_shown_in_their_unit() -> None:
    assert [FORMATS["share"](value) for value in (0.0, 0.004, 0.05, 0.5)] == ["0 %", "0.4 %", "5 %", "50 %"]
    assert [FORMATS["seconds"](value) for value in (0.0421, 2.0)] == ["42 ms", "2.0 s"]
