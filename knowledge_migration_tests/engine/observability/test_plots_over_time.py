"""Plots over time draw whatever there is: nothing, one moment, a span of minutes or of weeks."""

import pandas as pd
import pytest

from knowledge_migration.engine.observability import plots

PNG = b"\x89PNG"
VERDICT_COLUMNS = ["at", "stage", "metric", "verdict", "value", "threshold", "sample_size"]


def test_no_verdict_is_drawn_as_none() -> None:
    assert plots.verdicts_over_time(pd.DataFrame([], columns=VERDICT_COLUMNS)).png.startswith(PNG)


@pytest.mark.parametrize(("moments", "apart"), [(1, "1min"), (5, "1min"), (300, "5min"), (40, "12h")])
def test_metrics_are_drawn_however_long_they_were_kept(moments: int, apart: str) -> None:
    when = pd.date_range("2026-11-20", periods=moments, freq=apart, tz="UTC")
    frame = pd.DataFrame({"metric": "backlog.pending", "label": "topic", "measured_at": when, "value": range(moments)})
    assert plots.over_time(frame, ["backlog.pending"], "Queue").png.startswith(PNG)


def test_a_backfill_of_one_batch_is_drawn() -> None:
    frame = pd.DataFrame([{"entity": "atom", "at": pd.Timestamp("2026-11-20", tz="UTC"), "linked": 100}])
    assert plots.backfill_speed(frame).png.startswith(PNG)
