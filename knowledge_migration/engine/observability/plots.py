"""Charts of what the engine measured: a frame in, the bytes of a PNG out. They read no database and write no file.

Altair is imported where it is used: that takes 0.25 s, as long as all else the engine imports, and most processes draw
nothing. Rendering happens in this process (vl-convert), without a browser or a network.
"""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

WIDTH = 520
"""Of the plot itself, in pixels; with the names at its left the picture is 660 to 840 wide."""

ROW_HEIGHT = 22

EFFECT_COLOURS = {"blocks": "#B91C1C", "quarantines": "#D97706", "accepted": "#64748B"}
VERDICT_COLOURS = {"pass": "#0F766E", "inconclusive": "#D97706", "fail": "#B91C1C"}
CRITERION_COLOURS = {"met": "#0F766E", "for a person": "#2563EB", "no evidence yet": "#D97706", "not met": "#B91C1C"}
MEASURE_COLOURS = {"median": "#0F766E", "p95": "#2563EB", "p99": "#D97706", "max": "#B91C1C"}

FEW_POINTS = 150
"""More points than these are a line of their own."""

_ONE_TWO_FIVE = [float(f"{digit}e{power}") for power in range(-3, 5) for digit in (1, 2, 5)]
"""Ticks from 1 microsecond to 50 seconds; those that Vega chooses on a logarithmic scale run into each other."""


def bar_of_findings(frame: "pd.DataFrame") -> bytes:
    """How many rows each finding has, by what it does to the backfill; the frame of `DataQualityReport.as_frame`.

    The scale is symlog: linear near zero, so that a finding without rows is shown as such, and logarithmic above.
    """
    import altair as alt

    effects = list(EFFECT_COLOURS)
    rows = frame.assign(label=frame["finding"].str.replace("_", " "), number=frame["count"].map("{:,}".format))
    largest = max(10, int(rows["count"].max()))
    base = alt.Chart(rows).encode(
        y=alt.Y("label:N", title=None, sort=_by_effect(rows), axis=alt.Axis(labelLimit=340, ticks=False)),
        x=alt.X(
            "count:Q",
            title="rows (pairs of topics for near duplicates), logarithmic",
            scale=alt.Scale(type="symlog", constant=1, nice=False, domain=[0, largest]),
            axis=_decades(largest),
        ),
        color=alt.Color(
            "effect:N",
            title="effect on the backfill",
            scale=alt.Scale(domain=effects, range=list(EFFECT_COLOURS.values())),
            legend=alt.Legend(orient="top"),
        ),
    )
    numbers = base.mark_text(align="left", dx=4).encode(text="number:N", x="count:Q")
    return _png(alt.layer(base.mark_bar(), numbers), "Data quality: what the audit found", len(rows))


def latency_percentiles(frame: "pd.DataFrame") -> bytes:
    """Median, p95, p99 and maximum of each endpoint query in milliseconds; the frame of `Baseline.as_frame`."""
    import altair as alt

    columns = {f"{measure}_ms": measure for measure in MEASURE_COLOURS}
    rows = frame.rename(columns=columns).melt("query", list(MEASURE_COLOURS), "measure", "milliseconds")
    rows["label"] = rows["query"].str.replace("_", " ")
    base = alt.Chart(rows).encode(
        y=alt.Y("label:N", title=None, sort=None, axis=alt.Axis(labelLimit=340, ticks=False, grid=True)),
        x=alt.X(
            "milliseconds:Q",
            title="milliseconds, logarithmic",
            scale=alt.Scale(type="log", nice=False, padding=12),
            axis=alt.Axis(values=_ONE_TWO_FIVE, format="~g"),
        ),
    )
    points = base.mark_point(filled=True, size=90, opacity=1).encode(
        color=alt.Color(
            "measure:N",
            title="percentile",
            scale=alt.Scale(domain=list(MEASURE_COLOURS), range=list(MEASURE_COLOURS.values())),
            legend=alt.Legend(orient="top"),
        )
    )
    spans = base.mark_line(color="#CBD5E1", strokeWidth=3).encode(detail="label:N")
    samples = f"{int(frame['samples'].min()):,} samples a query"
    return _png(alt.layer(spans, points), f"Latency of the endpoint queries, {samples}", 2 * len(frame))


def before_and_after(frame: "pd.DataFrame") -> bytes:
    """The median of each endpoint in the baseline and now, in milliseconds; the frame of `performance.Comparison.as_frame`."""
    import altair as alt

    times = {"baseline_p50_ms": "baseline", "p50_ms": "now"}
    rows = frame.rename(columns=times).melt("query", list(times.values()), "time", "milliseconds")
    rows["label"] = rows["query"].str.replace("_", " ")
    base = alt.Chart(rows).encode(
        y=alt.Y("label:N", title=None, sort=None, axis=alt.Axis(labelLimit=340, ticks=False, grid=True)),
        x=alt.X(
            "milliseconds:Q",
            title="median in milliseconds, logarithmic",
            scale=alt.Scale(type="log", nice=False, padding=12),
            axis=alt.Axis(values=_ONE_TWO_FIVE, format="~g"),
        ),
    )
    points = base.mark_point(filled=True, size=90, opacity=1).encode(
        color=alt.Color(
            "time:N",
            title="measured",
            scale=alt.Scale(domain=list(times.values()), range=[EFFECT_COLOURS["accepted"], MEASURE_COLOURS["median"]]),
            legend=alt.Legend(orient="top"),
        )
    )
    spans = base.mark_line(color="#CBD5E1", strokeWidth=3).encode(detail="label:N")
    return _png(alt.layer(spans, points), "Endpoints before and after", 2 * len(frame))


def verdicts_over_time(frame: "pd.DataFrame") -> bytes:
    """Each verdict of each gate as a point in time; the frame of `cutover.evaluation.history`."""
    import altair as alt

    if frame.empty:
        frame = frame.reindex([0]).assign(metric="no gate was evaluated yet", verdict="inconclusive")
    rows = frame.assign(label=frame["metric"].str.replace("_", " "))
    drawn = rows[["at", "label", "verdict"]].drop_duplicates()
    chart = (
        alt.Chart(drawn)
        .mark_point(filled=True, size=60, opacity=0.8)
        .encode(
            y=alt.Y("label:N", title=None, axis=alt.Axis(labelLimit=340, ticks=False, grid=True)),
            x=_when("at", drawn["at"]),
            color=alt.Color(
                "verdict:N",
                title="verdict",
                scale=alt.Scale(domain=list(VERDICT_COLOURS), range=list(VERDICT_COLOURS.values())),
                legend=alt.Legend(orient="top"),
            ),
        )
    )
    return _png(chart, "Verdicts of the gates", drawn["label"].nunique())


def ways_back(rows: "Sequence[Mapping[str, Any]]") -> bytes:
    """Seconds of each way back as a bar, and how long it may take as a tick; the rows of `rehearsal.drill.PathResult`."""
    import altair as alt
    import pandas as pd

    frame = pd.DataFrame(rows).assign(label=lambda found: found["path"])
    scale = alt.Scale(type="symlog", constant=0.1, nice=False)
    base = alt.Chart(frame).encode(
        y=alt.Y("label:N", title=None, sort=None, axis=alt.Axis(labelLimit=340, ticks=False))
    )
    axis = alt.Axis(values=[0, 0.1, 1, 10, 100, 1_000, 10_000], format=",~r")
    bars = base.mark_bar(color=MEASURE_COLOURS["median"]).encode(
        x=alt.X("seconds:Q", title="seconds, logarithmic; the tick is how long it may take", scale=scale, axis=axis)
    )
    ticks = base.mark_tick(color=MEASURE_COLOURS["max"], thickness=3).encode(x=alt.X("target_seconds:Q", scale=scale))
    return _png(alt.layer(bars, ticks), "Ways back on a clone", len(frame))


def verdicts_by_section(rows: "Sequence[Mapping[str, Any]]") -> bytes:
    """The number of criteria of each section by verdict; rows of `Judged.as_row`."""
    import altair as alt
    import pandas as pd

    counted = pd.DataFrame(rows).groupby(["section", "verdict"], sort=False).size().reset_index(name="count")
    verdicts = list(CRITERION_COLOURS)
    order = list(dict.fromkeys(row["section"] for row in rows))
    chart = (
        alt.Chart(counted.assign(place=counted["verdict"].map(verdicts.index)))
        .mark_bar()
        .encode(
            y=alt.Y("section:N", title=None, sort=order, axis=alt.Axis(labelLimit=340, ticks=False)),
            x=alt.X("count:Q", title="criteria", axis=alt.Axis(format="d", tickMinStep=1)),
            order="place:Q",
            color=alt.Color(
                "verdict:N",
                title=None,
                scale=alt.Scale(domain=verdicts, range=list(CRITERION_COLOURS.values())),
                legend=alt.Legend(orient="top"),
            ),
        )
    )
    return _png(chart, "The strategy's checklists, as things stand", len(order))


def backfill_speed(frame: "pd.DataFrame") -> bytes:
    """Rows linked per table over the time of the backfill, each point some of its batches; the rows of `backfill_speed.sql`."""
    import altair as alt

    rows = frame.assign(total=frame.groupby("entity")["linked"].cumsum(), table=frame["entity"] + "s")
    chart = (
        alt.Chart(rows)
        .mark_line(point=True)
        .encode(
            x=_when("at", rows["at"]),
            y=alt.Y("total:Q", title="rows linked", axis=alt.Axis(format=",d")),
            color=alt.Color("table:N", title=None, legend=alt.Legend(orient="top")),
        )
    )
    return _png(chart, "The backfill", 8)


def load_percentiles(found: "Mapping[str, Any]") -> bytes:
    """Percentiles of the load test's answers as bars, and the limit of p95 as a rule; the evidence of `functional.load`."""
    import altair as alt
    import pandas as pd

    shown = {"p50": "p50_seconds", "p95": "p95_seconds", "p99": "p99_seconds", "slowest": "max_seconds"}
    frame = pd.DataFrame([{"label": label, "seconds": found[name]} for label, name in shown.items()])
    bars = (
        alt.Chart(frame)
        .mark_bar(color=MEASURE_COLOURS["median"])
        .encode(
            y=alt.Y("label:N", title=None, sort=None, axis=alt.Axis(ticks=False)),
            x=alt.X("seconds:Q", title="seconds; the line is the limit of p95"),
        )
    )
    limit = alt.Chart(pd.DataFrame({"seconds": [found["limit_seconds"]]})).mark_rule(color=MEASURE_COLOURS["max"])
    title = f"{found['concurrency']} extractions at once"
    return _png(alt.layer(bars, limit.encode(x="seconds:Q")), title, len(frame))


def over_time(frame: "pd.DataFrame", metrics: Sequence[str], title: str) -> bytes:
    """Each of these metrics and labels as a line; the frame of `observability.sampling.metric_history`."""
    import altair as alt

    rows = frame[frame["metric"].isin(metrics)]
    named = rows["metric"].str.partition(".")[2].str.replace("_", " ")
    chart = (
        alt.Chart(rows.assign(line=named.str.cat(rows["label"], sep=", ")))
        .mark_line(point=len(rows) <= FEW_POINTS)
        .encode(
            x=_when("measured_at", rows["measured_at"]),
            y=alt.Y("value:Q", title=None),
            color=alt.Color("line:N", title=None, legend=alt.Legend(orient="right", labelLimit=260)),
        )
    )
    return _png(chart, title, 8)


def _when(column: str, moments: "pd.Series") -> Any:
    """A time axis in UTC, as fine as the span needs; Vega's own labels are of twelve hours and of this machine's zone."""
    import altair as alt
    import pandas as pd

    known = pd.to_datetime(moments, utc=True).dropna()
    span = known.max() - known.min() if len(known) else pd.Timedelta(0)
    form = "%H:%M:%S" if span < pd.Timedelta(minutes=15) else "%H:%M" if span < pd.Timedelta(days=2) else "%d %b"
    axis = alt.Axis(format=form, labelOverlap=True)
    return alt.X(f"{column}:T", title="when (UTC)", scale=alt.Scale(type="utc"), axis=axis)


def _by_effect(rows: "pd.DataFrame") -> list[str]:
    """The labels: what blocks first, then by number."""
    order = rows.assign(rank=rows["effect"].map(list(EFFECT_COLOURS).index))
    return list(order.sort_values(["rank", "count"], ascending=[True, False])["label"])


def _decades(largest: int) -> Any:
    """Ticks at 0 and at the powers of ten; those that Vega chooses on a symlog scale lie on top of each other."""
    import altair as alt

    values = [0, *(10**power for power in range(len(str(largest))))]
    return alt.Axis(values=values, format=",d")


def _png(chart: Any, title: str, rows: int) -> bytes:
    buffer = BytesIO()
    shown = chart.properties(title=title, width=WIDTH, height=max(80, ROW_HEIGHT * rows))
    shown = shown.configure_view(stroke=None).configure_axis(labelFontSize=12, titleFontSize=12)
    shown.configure_title(fontSize=15, anchor="start").save(buffer, format="png")
    return buffer.getvalue()
