"""Evaluates the gates and records every verdict (strategy §6.4): pass, fail, or inconclusive. No data is inconclusive.

A window never begins before the last change of the cutover state, nor before the end of a load test, which is slow on purpose.
Two passes count as consecutive ones only if they are some seconds apart, so repeating an evaluation at once gains nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

from knowledge_migration.engine.cutover.gates import Verdict, duration, judge
from knowledge_migration.engine.cutover.metrics import Measurement, Window, measure
from knowledge_migration.engine.cutover.state import CutoverState, State
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.thresholds import STAGES, Gate

if TYPE_CHECKING:
    import pandas as pd

SETTLING = timedelta(seconds=3)
"""After a change of flags the service may still write measurements of the time before."""

STATES = ("dual_write", *STAGES)


@dataclass(frozen=True)
class Evaluation:
    """A gate's verdict at one moment, and the number of consecutive passes, this one included."""

    gate: Gate
    state: State
    at: datetime
    verdict: Verdict
    measurement: Measurement
    window_seconds: float
    consecutive_passes: int

    @property
    def met(self) -> bool:
        """Whether it passed often enough for a promotion."""
        return self.consecutive_passes >= self.gate.passes_in_a_row

    @property
    def sentence(self) -> str:
        """The verdict as text."""
        passes = f" {self.passes}." if self.verdict == "pass" else ""
        return f"{self.gate.metric}: {self.verdict}. {self._observed}, limit {self.gate.limit}.{passes}"

    @property
    def passes(self) -> str:
        """The consecutive passes as text."""
        return f"{self.consecutive_passes} consecutive passes ({self.gate.passes_in_a_row} required)"

    @property
    def _observed(self) -> str:
        gate, interval, sample = self.gate, self.measurement.interval, self.measurement.sample
        window = f"in {duration(self.window_seconds)}"
        required = "" if sample >= gate.minimum_sample else f" ({gate.minimum_sample:,} required)"
        if interval is None:
            return f"No data {window}{required}"
        range_ = f"95 % CI {gate.number(interval.low)}–{gate.number(interval.high)}"
        if gate.is_share and "hits" in self.measurement.detail:
            return f"{self.measurement.detail['hits']:,} of {sample:,} {gate.noun} {window} ({range_} %){required}"
        value = f"{gate.number(interval.value)} {gate.unit}"
        if interval.low == interval.high:
            return f"{value} {window}{required}"
        return f"{value} in {sample:,} samples {window} ({range_}){required}"

    def as_row(self) -> dict[str, Any]:
        """For a table."""
        interval = self.measurement.interval
        bounds = ("value", "low", "high")
        return {
            "metric": self.gate.metric,
            "verdict": self.verdict,
            **{name: round(getattr(interval, name), 5) if interval else None for name in bounds},
            "limit": self.gate.limit,
            "sample": self.measurement.sample,
            "required sample": self.gate.minimum_sample,
            "passes": f"{self.consecutive_passes} of {self.gate.passes_in_a_row}",
            "window": duration(self.window_seconds),
        }


@dataclass(frozen=True)
class LastVerdict:
    """The latest recorded verdict of one metric, and the cutover state that it belongs to."""

    metric: str
    at: datetime
    stage: str
    verdict: str
    value: float | None
    sample_size: int


def evaluate(
    database: Database,
    gates: Iterable[Gate],
    state: CutoverState,
    *,
    now: datetime,
    spacing_seconds: float,
    recorded_as: str | None = None,
    dagster_run_id: str | None = None,
) -> list[Evaluation]:
    """Measures, judges and records each gate as of `now`, under the name of the state unless another is given."""
    recorded: dict[str, Any] = {"at": now, "stage": recorded_as or state.state, "dagster_run_id": dagster_run_id}
    evaluations = []
    with database.connect("cutover gates", settings={"statement_timeout": "30000"}) as connection:
        begin = max(state.since, _disturbed_until(connection, now) or state.since) + SETTLING
        for gate in gates:
            window = Window(database, connection, max(begin, now - timedelta(minutes=gate.window_minutes)), now)
            measurement = measure(gate, window)
            verdict = _verdict(gate, measurement)
            _record(connection, gate, verdict, measurement, {**recorded, "window_seconds": window.seconds})
            passes = _consecutive_passes(connection, gate, recorded["stage"], state.since, spacing_seconds)
            evaluations.append(Evaluation(gate, state.state, now, verdict, measurement, window.seconds, passes))
    return evaluations


def _disturbed_until(connection: Connection, now: datetime) -> datetime | None:
    row = connection.execute(text_of("cutover/gate_disturbed"), {"now": now}).fetchone()
    return row["until"] if row else None


def _verdict(gate: Gate, measurement: Measurement) -> Verdict:
    if measurement.interval is None or measurement.sample < gate.minimum_sample:
        return "inconclusive"
    return judge(measurement.interval, gate.comparison, gate.threshold, gate.upper)


def _record(
    connection: Connection, gate: Gate, verdict: Verdict, measurement: Measurement, recorded: dict[str, Any]
) -> None:
    interval = measurement.interval
    bounds = {"low": interval.low, "high": interval.high} if interval else {}
    values = {
        "metric": gate.metric,
        "verdict": verdict,
        "value": interval.value if interval else None,
        "threshold": gate.threshold,
        "sample_size": measurement.sample,
        "detail": Jsonb({**measurement.detail, **bounds}),
    }
    connection.execute(text_of("cutover/gate_record"), {**recorded, **values})


def _consecutive_passes(connection: Connection, gate: Gate, name: str, since: datetime, spacing_seconds: float) -> int:
    """Passes since the last other verdict; those closer together than the spacing count once."""
    passes, last = 0, None
    for row in connection.execute(
        text_of("cutover/gate_latest"), {"stage": name, "metric": gate.metric, "since": since}
    ):
        if row["verdict"] != "pass":
            break
        if last is None or (last - row["at"]).total_seconds() >= spacing_seconds:
            passes, last = passes + 1, row["at"]
    return passes


def needed_for(gates: Sequence[Gate], stage: str) -> list[Gate]:
    """The gates that the promotion to a stage needs."""
    return [gate for gate in gates if stage in gate.stages]


def last_verdicts(connection: Connection, metrics: Sequence[str], states: Sequence[str] = STATES) -> list[LastVerdict]:
    """The latest recorded verdict of each metric in any of these states, without those of the guard; measures nothing."""
    parameters = {"metrics": list(metrics), "states": list(states)}
    return [
        LastVerdict(row["metric"], row["at"], row["stage"], row["verdict"], row["value"], row["sample_size"] or 0)
        for row in connection.execute(text_of("cutover/gate_last"), parameters)
    ]


def history(connection: Connection, since: datetime) -> "pd.DataFrame":
    """Every verdict since a moment: at, stage, metric, verdict, value, threshold, sample_size."""
    import pandas as pd

    columns = ["at", "stage", "metric", "verdict", "value", "threshold", "sample_size"]
    rows = connection.execute(text_of("cutover/gate_history"), {"since": since}).fetchall()
    return pd.DataFrame(rows, columns=columns)
