"""The backfill's speed: a curve over its last changes, and a table of them with their reasons."""

from collections.abc import Sequence
from datetime import UTC
from itertools import pairwise

from nicegui import ui

from knowledge_migration.engine.status.model import SpeedChange
from knowledge_migration.pages.elements import Text, at, named
from knowledge_migration.pages.migration.widgets import Badge, Redrawn, Row, Table

WIDTH, HEIGHT = 600, 80
SHOWN = 8
GRADES = {"none": "good", "soft": "warning", "hard": "bad", "unreadable": "bad", "critical": "bad"}
COLUMNS = ("At", "Speed", "Rows/s before", "Reason")


class SpeedCurve:
    """Changes in place; nothing at a fixed rate."""

    def __init__(self) -> None:
        with ui.element("div").props("id=backfill-speed") as self._box:
            self._curve: Redrawn[tuple[SpeedChange, ...]] = Redrawn(draw_curve)
            self._table = Table("Changes of the speed", COLUMNS, empty="")
        self._box.set_visibility(False)

    def show(self, changes: tuple[SpeedChange, ...]) -> None:
        """The newest reading."""
        self._box.set_visibility(bool(changes))
        self._curve.show(changes)
        self._table.show([_row(change) for change in reversed(changes[-SHOWN:])])


def _row(change: SpeedChange) -> Row:
    speed = f"{change.level:.0%}" if change.level else "waits"
    moment = f"{change.at.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"  # the first cell is the name of its row
    return (f"{moment[:-5]} UTC", Badge(speed, GRADES[change.grade]), f"{change.rows_per_second:,.0f}", change.reason)


def draw_curve(changes: Sequence[SpeedChange]) -> None:
    """The level as steps over time; a mark with the reason at each change."""
    if not changes:
        return
    marks = marks_of(changes)
    with named(ui.element("svg"), "Speed of the backfill over its last changes").classes("speed-curve") as picture:
        picture.props(f'viewBox="0 -6 {WIDTH} {HEIGHT + 12}" role=img')
        ui.element("polyline").props["points"] = " ".join(f"{x:.1f},{y:.1f}" for x, y in steps_of(marks))
        for change, (x, y) in zip(changes, marks, strict=True):
            with ui.element("circle").props(f"cx={x:.1f} cy={y:.1f} r=4").classes(GRADES[change.grade]):
                Text("title", f"{at(change.at)}: {change.reason}")


def marks_of(changes: Sequence[SpeedChange]) -> list[tuple[float, float]]:
    """The point of each change; the last reading is at the right edge, the highest level (at least 1) at the top."""
    start, end = changes[0].at, max(changes[-1].read_at, changes[-1].at)
    seconds = max((end - start).total_seconds(), 1.0)
    top = max(1.0, *(change.level for change in changes))
    return [
        (WIDTH * (change.at - start).total_seconds() / seconds, HEIGHT * (1 - change.level / top)) for change in changes
    ]


def steps_of(marks: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The corners of the curve: a level holds until the next change, the last one to the right edge."""
    steps = [marks[0]]
    for (_, level), after in pairwise([*marks, (WIDTH, marks[-1][1])]):
        steps += [(after[0], level), after]
    return steps
