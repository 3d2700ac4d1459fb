"""The trends of the last hour as charts, drawn by the server: line, 95 % interval, and the limit of the gate."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from nicegui import ui

from knowledge_migration.engine.status.model import Point, StatusSnapshot, Trend
from knowledge_migration.engine.status.trends import SHOWN
from knowledge_migration.pages.elements import Text, at, named

WIDTH, HEIGHT = 600, 96
EDGE = 3
"""A dot at the present moment would be half outside."""
GAP = timedelta(minutes=3)
"""The line is interrupted where there is no value for longer than this, and the last value is not the present one."""
EMPTY = {
    "share": "No requests in the last hour.",
    "seconds": "No extractions in the last hour.",
    "proposals": "The gate was not evaluated in the last hour.",
    "rows per second": "No rows were linked in the last hour.",
}


def seconds_text(value: float) -> str:
    """A time in its usual unit."""
    return f"{value * 1000:,.0f} ms" if value < 1 else f"{value:,.1f} s"


FORMATS: dict[str, Callable[[float], str]] = {
    "share": lambda value: f"{100 * value:.2g} %" if value < 0.095 else f"{100 * value:.0f} %",
    "seconds": seconds_text,
    "proposals": lambda value: f"{value:,.0f}",
    "rows per second": lambda value: f"{value:,.0f} rows/s",
}


def trends_of(snapshot: StatusSnapshot) -> tuple[Trend, ...]:
    """The trends, that of the queue with its present length."""
    now = (Point(snapshot.at, float(snapshot.pending)),) if snapshot.queues else ()
    begin = snapshot.at - SHOWN
    shown = (replace(trend, points=tuple(p for p in trend.points if p.at >= begin)) for trend in snapshot.trends)
    return tuple(replace(trend, points=trend.points + now) if trend.unit == "proposals" else trend for trend in shown)


def trends_key(snapshot: StatusSnapshot) -> object:
    """Charts are drawn again when a point is new or has changed, and once a minute."""
    return (
        *(trend.points[:-1] for trend in snapshot.trends),
        snapshot.pending,
        snapshot.at.replace(second=0, microsecond=0),
    )


def draw_trends(snapshot: StatusSnapshot) -> None:
    """All trends side by side."""
    with ui.element("div").classes("charts"):
        for trend in trends_of(snapshot):
            draw_chart(trend, snapshot.at)


def draw_chart(trend: Trend, now: datetime) -> None:
    """One trend: its last value beside its limit, and the curve."""
    shown = FORMATS[trend.unit]
    last = trend.points[-1] if trend.points else None
    is_current = last is not None and now - last.at <= GAP
    beyond = is_current and last is not None and trend.limit is not None and last.value > trend.limit
    with ui.element("figure").classes("chart over" if beyond else "chart"):
        with ui.element("figcaption"):
            Text("span", f"{trend.name[:1].upper()}{trend.name[1:]}", "chart-name")
            Text("strong", shown(last.value) if is_current and last else "–", "chart-value")
            if trend.limit is not None:
                Text("span", f"{'over the ' if beyond else ''}limit {shown(trend.limit)}", "chart-limit")
        if last is None:
            Text("p", EMPTY[trend.unit], "muted chart-empty")
            return
        _curve(trend, now, f"{trend.name}: {shown(last.value)} at {at(last.at)}")
        with ui.element("p").classes("chart-axis"):
            Text("span", "1 hour ago")
            Text("span", "shaded: 95 % interval" if last.high is not None else "")
            Text("span", "now")


@dataclass(frozen=True)
class Scale:
    """Where a moment and a value are in the picture; the limit is never at its edge."""

    now: datetime
    top: float

    def place(self, moment: datetime, value: float) -> str:
        """`x,y`."""
        x = WIDTH * (1 - (self.now - moment) / SHOWN)
        return f"{min(max(x, 0), WIDTH - EDGE):.1f},{self.y(value):.1f}"

    def y(self, value: float) -> float:
        """A value that is too high for the picture is drawn at its top."""
        return HEIGHT * (1 - min(value / self.top, 1.0))


def scale_of(trend: Trend, now: datetime) -> Scale:
    """Up to the highest value or the limit; an interval may be cut off, because few requests make it wide."""
    highest = max([point.value for point in trend.points] + [trend.limit or 0.0])
    return Scale(now, 1.25 * highest or 1.0)


def _curve(trend: Trend, now: datetime, description: str) -> None:
    scale = scale_of(trend, now)
    with named(ui.element("svg"), description) as picture:
        picture.props(f'viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio=none role=img')
        for run in runs_of(trend.points):
            if run[0].high is not None and len(run) > 1:
                ui.element("polygon").classes("band").props["points"] = " ".join(band(run, scale))
            places = [scale.place(point.at, point.value) for point in run]
            line = ui.element("path").classes("curve" if len(places) > 1 else "curve dot")
            line.props["d"] = f"M{' L'.join(places if len(places) > 1 else 2 * places)}"
        if trend.limit is not None:
            y = scale.y(trend.limit)
            ui.element("line").classes("limit").props(f"x1=0 x2={WIDTH} y1={y:.1f} y2={y:.1f}")


def runs_of(points: Sequence[Point]) -> Iterator[Sequence[Point]]:
    """The points without the gaps between them."""
    start = 0
    for number in range(1, len(points) + 1):
        if number == len(points) or points[number].at - points[number - 1].at > GAP:
            yield points[start:number]
            start = number


def band(run: Sequence[Point], scale: Scale) -> Iterator[str]:
    """The outline of the interval: along its upper end, and back along its lower one."""
    yield from (scale.place(point.at, point.high or 0.0) for point in run)
    yield from (scale.place(point.at, point.low or 0.0) for point in reversed(run))
