"""The last hour by minute: error rate and time of extractions, review queue, speed of the backfill, with the limits of the gates.

Reads the measurements that the service processes write, the recorded verdicts and the ledger; measures nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from knowledge_migration.engine.cutover.gates import proportion
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.engine.status.model import Point, Trend
from knowledge_migration.engine.status.reading import Reading
from knowledge_migration.knowledge.measurements import BUCKET_SECONDS

SHOWN = timedelta(hours=1)
QUANTILE = 0.95

Rows = Sequence[Mapping[str, Any]]


def read_trends(reading: Reading) -> tuple[Trend, ...]:
    """The four trends; a trend without data has no points."""
    gates = {gate.metric: gate for gate in reading.settings.cutover.gates}

    def rows(name: str, relation: str) -> Rows:
        parameters = {"since": reading.now - SHOWN}
        read = reading.part(
            "trends", lambda: reading.connection.execute(text_of(name), parameters).fetchall(), relation
        )
        return read or ()

    requests = rows("status/trend_requests", "migration.service_measurement")
    extractions = rows("status/trend_extractions", "migration.service_measurement")
    queue = rows("status/trend_queue", "migration.gate_evaluation")
    batches = rows("status/trend_backfill", "migration.backfill_batch")
    lengths = tuple(Point(row["at"], row["value"]) for row in queue)
    return (
        Trend("error rate", "share", tuple(_error_rates(requests)), gates["api_error_rate"].threshold),
        Trend("extraction time, p95", "seconds", tuple(_p95(extractions)), gates["slow_extractions"].limit_seconds),
        Trend("review queue", "proposals", lengths, gates["queue_depth"].threshold),
        Trend("backfill", "rows per second", tuple(Point(row["at"], row["rows"] / 60) for row in batches)),
    )  # fmt: skip


def _error_rates(rows: Rows) -> Iterator[Point]:
    """Of requests; of extractions where a backend calls the service without its API, as the gate counts."""
    has_requests = any(not row["extraction"] for row in rows)
    for row in rows:
        interval = proportion(row["hits"], row["sample"]) if row["extraction"] != has_requests else None
        if interval:
            yield Point(row["at"], interval.value, interval.low, interval.high)


def _p95(rows: Rows) -> Iterator[Point]:
    """Interpolated within its bucket; the last bucket has no upper bound, so its lower one is a lower bound of the time."""
    bounds = (0.0, *BUCKET_SECONDS)
    for row in rows:
        wanted, below = QUANTILE * sum(row["buckets"]), 0
        for number, count in enumerate(row["buckets"]):
            if count and below + count >= wanted:
                low, high = bounds[number], bounds[min(number + 1, len(bounds) - 1)]
                yield Point(row["at"], low + (high - low) * (wanted - below) / count)
                break
            below += count
