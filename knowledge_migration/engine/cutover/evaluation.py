"""Judges the gates as things stand and keeps every verdict (strategy §6.4): pass, fail, or inconclusive.

A metric is never looked at further back than the flags stand as they do, nor behind the end of a load test, which is slow on
purpose; and one round counts as another only some seconds after the last, so that nobody passes three times by asking three
times at once.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

from knowledge_migration.engine.cutover.gates import Gate
from knowledge_migration.engine.cutover.metrics import Measurement, Window, measure
from knowledge_migration.engine.cutover.state import CutoverState, State
from knowledge_migration.engine.cutover.statistics import Verdict, judge
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.sql_files import text_of

if TYPE_CHECKING:
    import pandas as pd

SETTLING = timedelta(seconds=3)
"""After a change of flags: what the service wrote down by then may still speak of the time before."""


@dataclass(frozen=True)
class Evaluation:
    """A gate's verdict at one moment, and how many times in a row it has passed, this one included."""

    gate: Gate
    state: State
    at: datetime
    verdict: Verdict
    measurement: Measurement
    window_seconds: float
    passed_in_a_row: int

    @property
    def holds(self) -> bool:
        """Whether it passed often enough for a promotion."""
        return self.passed_in_a_row >= self.gate.passes_in_a_row

    @property
    def sentence(self) -> str:
        """The verdict in plain words."""
        interval, sample = self.measurement.interval, self.measurement.sample
        if interval is None:
            seen = "nothing was seen"
        elif interval.low == interval.high:
            seen = f"{interval.value:.4g} seen"
        else:
            seen = f"{interval.value:.4g} seen (95 % sure: {interval.low:.4g} to {interval.high:.4g})"
        enough = "" if sample >= self.gate.minimum_sample else f", needs {self.gate.minimum_sample:,}"
        times = f"; passed {self.passed_in_a_row} of {self.gate.passes_in_a_row} times in a row"
        return (
            f"{self.gate.metric} {self.verdict}: {seen}, limit {self.gate.limit}; sample {sample:,}{enough}, "
            f"of {self.window_seconds / 60:.3g} minutes{times if self.verdict == 'pass' else ''}."
        )

    def as_row(self) -> dict[str, Any]:
        """For a table."""
        interval = self.measurement.interval
        return {
            "metric": self.gate.metric,
            "verdict": self.verdict,
            "value": None if interval is None else round(interval.value, 5),
            "low": None if interval is None else round(interval.low, 5),
            "high": None if interval is None else round(interval.high, 5),
            "limit": self.gate.limit,
            "sample": self.measurement.sample,
            "needed": self.gate.minimum_sample,
            "in a row": f"{self.passed_in_a_row} of {self.gate.passes_in_a_row}",
            "minutes": round(self.window_seconds / 60, 2),
        }


def evaluate(
    database: Database,
    gates: Iterable[Gate],
    position: CutoverState,
    *,
    now: datetime,
    spacing_seconds: float,
    recorded_as: str | None = None,
    dagster_run_id: str | None = None,
) -> list[Evaluation]:
    """Measures, judges and records each gate as of `now`, under the name of the state unless another is given."""
    name = recorded_as or position.state
    with database.connect("cutover gates", settings={"statement_timeout": "30000"}) as connection:
        begin = max(position.since, _disturbed_until(connection, now) or position.since) + SETTLING
        judged_one = partial(
            _evaluate, database, connection, name, position, begin, now, spacing_seconds, dagster_run_id
        )
        return [judged_one(gate) for gate in gates]


def _evaluate(
    database: Database,
    connection: Connection,
    name: str,
    position: CutoverState,
    begin: datetime,
    now: datetime,
    spacing_seconds: float,
    dagster_run_id: str | None,
    gate: Gate,
) -> Evaluation:
    since = max(begin, now - timedelta(minutes=gate.window_minutes))
    window = Window(database, connection, since, now)
    measurement = measure(gate, window)
    verdict = _verdict(gate, measurement)
    _record(connection, gate, name, now, verdict, measurement, window.seconds, dagster_run_id)
    in_a_row = _passed_in_a_row(connection, gate, name, position.since, spacing_seconds)
    return Evaluation(gate, position.state, now, verdict, measurement, window.seconds, in_a_row)


def _disturbed_until(connection: Connection, now: datetime) -> datetime | None:
    row = connection.execute(text_of("cutover/gate_disturbed"), {"now": now}).fetchone()
    until: datetime | None = row["until"] if row else None
    return until


def _verdict(gate: Gate, measurement: Measurement) -> Verdict:
    if measurement.interval is None or measurement.sample < gate.minimum_sample:
        return "inconclusive"
    return judge(measurement.interval, gate.comparison, gate.threshold, gate.upper)


def _record(
    connection: Connection,
    gate: Gate,
    name: str,
    now: datetime,
    verdict: Verdict,
    measurement: Measurement,
    window_seconds: float,
    dagster_run_id: str | None,
) -> None:
    interval = measurement.interval
    bounds = {"low": interval.low, "high": interval.high} if interval else {}
    connection.execute(
        text_of("cutover/gate_record"),
        {
            "at": now,
            "stage": name,
            "metric": gate.metric,
            "verdict": verdict,
            "value": interval.value if interval else None,
            "threshold": gate.threshold,
            "window_seconds": window_seconds,
            "sample_size": measurement.sample,
            "detail": Jsonb({**measurement.detail, **bounds}),
            "dagster_run_id": dagster_run_id,
        },
    )


def _passed_in_a_row(connection: Connection, gate: Gate, name: str, since: datetime, spacing_seconds: float) -> int:
    """Passes since the last other verdict, those closer together than the spacing counted once."""
    wanted = {"stage": name, "metric": gate.metric, "since": since}
    passed, last = 0, None
    for row in connection.execute(text_of("cutover/gate_latest"), wanted):
        if row["verdict"] != "pass":
            break
        if last is None or (last - row["at"]).total_seconds() >= spacing_seconds:
            passed, last = passed + 1, row["at"]
    return passed


def needed_for(gates: Sequence[Gate], stage: str) -> list[Gate]:
    """The gates that the promotion to a stage needs."""
    return [gate for gate in gates if stage in gate.stages]


def history(connection: Connection, since: datetime) -> "pd.DataFrame":
    """Every verdict since a moment: at, stage, metric, verdict, value, threshold, sample_size."""
    import pandas as pd

    columns = ["at", "stage", "metric", "verdict", "value", "threshold", "sample_size"]
    return pd.DataFrame(
        connection.execute(text_of("cutover/gate_history"), {"since": since}).fetchall(), columns=columns
    )
