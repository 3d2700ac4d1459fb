"""Charts of the engine's measurements: rows in, a picture out. They read no database and write no file.

Each chart is a Vega-Lite specification, rendered in this process (vl-convert, imported where it is used) without a network.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

Spec = dict[str, Any]

WIDTH = 520
"""Of the plot area in pixels; with the labels the picture is 660 to 840 wide."""

ROW_HEIGHT = 22
FEW_POINTS = 150
"""Above this number a line has no point marks."""

GREEN, BLUE, AMBER, RED, GREY = "#0F766E", "#2563EB", "#D97706", "#B91C1C", "#64748B"
INK, LINE, PAPER = "#14181F", "#DDE2EA", "white"
ON_PAPER = {INK: "var(--ink)", LINE: "var(--line)", "#CBD5E1": "var(--line)", PAPER: "none"}
"""The colours of a drawing that are those of the page around it."""
EFFECT_COLOURS = {"blocks": RED, "quarantines": AMBER, "accepted": GREY}
VERDICT_COLOURS = {"pass": GREEN, "inconclusive": AMBER, "fail": RED}
CRITERION_COLOURS = {"met": GREEN, "for a person": BLUE, "no evidence yet": AMBER, "not met": RED}
MEASURE_COLOURS = {"median": GREEN, "p95": BLUE, "p99": AMBER, "max": RED}
TIME_COLOURS = {"baseline": GREY, "now": GREEN}

MILLISECOND_TICKS = [float(f"{digit}e{power}") for power in range(-3, 5) for digit in (1, 2, 5)]
"""From 1 microsecond to 50 seconds; the ticks that Vega chooses on a logarithmic scale overlap."""


@dataclass(frozen=True)
class Chart:
    """A Vega-Lite specification with its data."""

    spec: Spec

    @property
    def png(self) -> bytes:
        """For Dagster."""
        import vl_convert

        png: bytes = vl_convert.vegalite_to_png(self.spec)
        return png

    @property
    def svg(self) -> str:
        """For an HTML page: its texts, lines and background have the colours of the page, and it shrinks with it."""
        import vl_convert

        svg = vl_convert.vegalite_to_svg({**self.spec, "config": {**self.spec["config"], "font": "inherit"}})
        for colour, variable in ON_PAPER.items():
            svg = re.sub(rf'"{colour}"', f'"{variable}"', svg, flags=re.IGNORECASE)
        return re.sub(r' width="\d+(\.\d+)?" height="\d+(\.\d+)?"', "", svg, count=1)


def bar_of_findings(frame: "pd.DataFrame") -> Chart:
    """Rows of each finding, by its effect on the backfill; the frame of `DataQualityReport.as_frame`.

    The scale is symlog: linear near zero, so that a finding without rows is shown, and logarithmic above.
    """
    rank = frame["effect"].map(list(EFFECT_COLOURS).index)
    rows = frame.assign(label=_labels(frame["finding"]), number=frame["count"].map("{:,}".format), rank=rank)
    rows = rows.sort_values(["rank", "count"], ascending=[True, False])
    largest = max(10, int(rows["count"].max()))
    ticks = [0, *(10**power for power in range(len(str(largest))))]  # those that Vega chooses overlap
    x = _quantity(
        "count", "rows (pairs of topics for near duplicates), logarithmic", axis={"values": ticks, "format": ",d"},
        scale={"type": "symlog", "constant": 1, "nice": False, "domain": [0, largest]},
    )  # fmt: skip
    encoding = {"x": x, "y": _rows(), "color": _colours("effect", EFFECT_COLOURS, "effect on the backfill")}
    numbers = {
        "mark": {"type": "text", "align": "left", "dx": 4},
        "encoding": {"text": {"field": "number", "type": "nominal"}},
    }
    return _chart({"encoding": encoding, "layer": [{"mark": "bar"}, numbers]}, rows, "Data quality findings", len(rows))


def latency_percentiles(frame: "pd.DataFrame") -> Chart:
    """Median, p95, p99 and maximum of each endpoint query in milliseconds; the frame of `Baseline.as_frame`."""
    columns = {f"{measure}_ms": measure for measure in MEASURE_COLOURS}
    title = f"Latency of the endpoint queries, {int(frame['samples'].min()):,} samples per query"
    return _milliseconds_per_query(frame, columns, MEASURE_COLOURS, "percentile", title)


def before_and_after(frame: "pd.DataFrame") -> Chart:
    """The median of each endpoint in the baseline and now, in milliseconds; the frame of `performance.Comparison.as_frame`."""
    columns = {"baseline_p50_ms": "baseline", "p50_ms": "now"}
    return _milliseconds_per_query(frame, columns, TIME_COLOURS, "median", "Endpoints before and after")


def _milliseconds_per_query(
    frame: "pd.DataFrame", columns: Mapping[str, str], colours: Mapping[str, str], legend: str, title: str
) -> Chart:
    """One point per query and column, connected by a line."""
    rows = frame.rename(columns=columns).melt("query", list(columns.values()), "measure", "milliseconds")
    rows["label"] = _labels(rows["query"])
    scale = {"type": "log", "nice": False, "padding": 12}
    axis = {"values": MILLISECOND_TICKS, "format": "~g"}
    x = _quantity("milliseconds", "milliseconds, logarithmic", scale=scale, axis=axis)
    line = {"mark": {"type": "line", "color": "#CBD5E1", "strokeWidth": 3}, "encoding": {"detail": {"field": "label"}}}
    points = {
        "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1},
        "encoding": {"color": _colours("measure", colours, legend)},
    }
    return _chart({"encoding": {"x": x, "y": _rows(grid=True)}, "layer": [line, points]}, rows, title, 2 * len(frame))


def verdicts_over_time(frame: "pd.DataFrame") -> Chart:
    """Each verdict of each gate as a point in time; the frame of `cutover.evaluation.history`."""
    if frame.empty:
        frame = frame.reindex([0]).assign(metric="no gate was evaluated yet", verdict="inconclusive")
    rows = frame.assign(label=_labels(frame["metric"]))[["at", "label", "verdict"]]
    rows = rows.drop_duplicates().sort_values("label")
    encoding = {
        "x": _time("at", rows["at"]), "y": _rows(grid=True), "color": _colours("verdict", VERDICT_COLOURS, "verdict"),
    }  # fmt: skip
    mark = {"type": "point", "filled": True, "size": 60, "opacity": 0.8}
    return _chart({"mark": mark, "encoding": encoding}, rows, "Verdicts of the gates", rows["label"].nunique())


def rollback_times(rows: Sequence[Mapping[str, Any]]) -> Chart:
    """Seconds of each rollback as a bar, and its time limit as a tick; the rows of `rehearsal.drill.PathResult`."""
    scale = {"type": "symlog", "constant": 0.1, "nice": False}
    axis = {"values": [0, 0.1, 1, 10, 100, 1_000, 10_000], "format": ",~r"}
    seconds = _quantity("seconds", "seconds, logarithmic; the tick is the time limit", scale=scale, axis=axis)
    bars = {"mark": {"type": "bar", "color": GREEN}, "encoding": {"x": seconds}}
    ticks = {
        "mark": {"type": "tick", "color": RED, "thickness": 3},
        "encoding": {"x": {"field": "target_seconds", "type": "quantitative", "scale": scale}},
    }
    labelled = [{**row, "label": row["path"]} for row in rows]
    return _chart({"encoding": {"y": _rows()}, "layer": [bars, ticks]}, labelled, "Rollbacks on a clone", len(rows))


def verdicts_by_section(rows: Sequence[Mapping[str, Any]]) -> Chart:
    """How many criteria of each section have each verdict; rows of `Judged.as_row`."""
    sections, verdicts = list(dict.fromkeys(row["section"] for row in rows)), list(CRITERION_COLOURS)
    labelled = [
        {"label": row["section"], "verdict": row["verdict"], "place": verdicts.index(row["verdict"])} for row in rows
    ]
    encoding = {
        "x": {
            "aggregate": "count",
            "type": "quantitative",
            "title": "criteria",
            "axis": {"format": "d", "tickMinStep": 1},
        },
        "y": _rows(),
        "order": {"field": "place", "type": "quantitative"},
        "color": _colours("verdict", CRITERION_COLOURS, None),
    }
    return _chart({"mark": "bar", "encoding": encoding}, labelled, "The strategy's checklists", len(sections))


def backfill_speed(frame: "pd.DataFrame") -> Chart:
    """Rows linked per table over time, each point some batches; the rows of `report_backfill_speed`."""
    rows = frame.assign(total=frame.groupby("entity")["linked"].cumsum(), table=frame["entity"] + "s")
    encoding = {
        "x": _time("at", rows["at"]), "y": _quantity("total", "rows linked", axis={"format": ",d"}), "color": _legend("table"),
    }  # fmt: skip
    return _chart({"mark": {"type": "line", "point": True}, "encoding": encoding}, rows, "The backfill", 8)


def load_percentiles(load: Mapping[str, Any]) -> Chart:
    """Percentiles of the load test's response times as bars, and the limit of p95 as a line; its evidence."""
    columns = {"p50": "p50_seconds", "p95": "p95_seconds", "p99": "p99_seconds", "slowest": "max_seconds"}
    rows = [{"label": label, "seconds": load[name], "limit": load["limit_seconds"]} for label, name in columns.items()]
    bars = {
        "mark": {"type": "bar", "color": GREEN},
        "encoding": {"y": _rows(), "x": _quantity("seconds", "seconds; the line is the limit of p95")},
    }
    limit = {"mark": {"type": "rule", "color": RED}, "encoding": {"x": {"field": "limit", "type": "quantitative"}}}
    return _chart({"layer": [bars, limit]}, rows, f"{load['concurrency']} concurrent extractions", len(rows))


def over_time(frame: "pd.DataFrame", metrics: Sequence[str], title: str) -> Chart:
    """Each of these metrics and labels as a line; the frame of `observability.metrics.metric_history`."""
    rows = frame[frame["metric"].isin(metrics)]
    names = _labels(rows["metric"].str.partition(".")[2])
    encoding = {
        "x": _time("measured_at", rows["measured_at"]), "y": _quantity("value", None), "color": _legend("line", "right"),
    }  # fmt: skip
    mark = {"type": "line", "point": len(rows) <= FEW_POINTS}
    return _chart(
        {"mark": mark, "encoding": encoding}, rows.assign(line=names.str.cat(rows["label"], sep=", ")), title, 8
    )


def _labels(names: "pd.Series") -> "pd.Series":
    return names.str.replace("_", " ")


def _rows(*, grid: bool = False) -> Spec:
    """One line per label, in the order of the rows."""
    axis = {"labelLimit": 340, "ticks": False, "grid": grid}
    return {"field": "label", "type": "nominal", "title": None, "sort": None, "axis": axis}


def _quantity(field: str, title: str | None, **options: Any) -> Spec:
    return {"field": field, "type": "quantitative", "title": title, **options}


def _colours(field: str, colours: Mapping[str, str], title: str | None) -> Spec:
    scale = {"domain": list(colours), "range": list(colours.values())}
    return {"field": field, "type": "nominal", "title": title, "scale": scale, "legend": {"orient": "top"}}


def _legend(field: str, place: str = "top") -> Spec:
    return {"field": field, "type": "nominal", "title": None, "legend": {"orient": place, "labelLimit": 260}}


def _time(column: str, moments: "pd.Series") -> Spec:
    """A time axis in UTC, with a format that fits its span; Vega's own labels use twelve hours and the local time zone."""
    import pandas as pd

    known = pd.to_datetime(moments, utc=True).dropna()
    span = known.max() - known.min() if len(known) else pd.Timedelta(0)
    form = "%H:%M:%S" if span < pd.Timedelta(minutes=15) else "%H:%M" if span < pd.Timedelta(days=2) else "%d %b"
    axis = {"format": form, "labelOverlap": True}
    return {"field": column, "type": "temporal", "title": "time (UTC)", "scale": {"type": "utc"}, "axis": axis}


def _chart(chart: Spec, rows: "pd.DataFrame | Sequence[Mapping[str, Any]]", title: str, lines: int) -> Chart:
    import pandas as pd

    frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame([dict(row) for row in rows])
    font = {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": 500}
    config = {
        "view": {"stroke": None},
        "axis": {
            **font,
            "domainColor": LINE,
            "gridColor": LINE,
            "tickColor": LINE,
            "labelColor": INK,
            "titleColor": INK,
        },
        "legend": {**font, "labelColor": INK, "titleColor": INK},
        "title": {"fontSize": 15, "anchor": "start", "color": INK},
        "text": {"color": INK},
    }
    size = {"width": WIDTH, "height": max(80, ROW_HEIGHT * lines)}
    data = {"values": json.loads(frame.to_json(orient="records", date_format="iso"))}
    return Chart({**chart, **size, "title": title, "data": data, "config": config})
