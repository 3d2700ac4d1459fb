"""The trends of the last hour: by minute, with the limits of the gates, and nothing where nothing was measured."""

from datetime import timedelta

import pytest

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.status.model import Trend
from knowledge_migration.engine.status.snapshot import read_status
from knowledge_migration_tests.engine.cutover.stages_reached import gate, measured, now
from knowledge_migration_tests.engine.status.reading import RULES


def trends(database: Database) -> dict[str, Trend]:
    """The trends by unit."""
    return {trend.unit: trend for trend in read_status(database, RULES, parts=("trends",)).trends}


def test_before_the_schema_there_are_no_points(database: Database) -> None:
    snapshot = read_status(database, RULES, parts=("trends",))

    assert snapshot.unreadable == {}
    assert [trend.points for trend in snapshot.trends] == [()] * 4


def test_errors_and_times_are_by_minute_with_the_limits_of_the_gates(expanded: Database) -> None:
    minute = now().replace(second=5, microsecond=0)
    earlier = minute - timedelta(minutes=7)
    with expanded.connect("test") as connection:
        measured(connection, "GET /topics", answered=45, errors=5, at=earlier)
        measured(connection, "GET /topics", answered=50, at=earlier + timedelta(seconds=9), process="another")
        measured(connection, "GET /topics", answered=10, errors=10, at=minute - timedelta(hours=2))
        measured(connection, "extraction", "proposal", answered=100, errors=100, seconds=0.3, at=earlier)
    read = trends(expanded)

    (point,) = read["share"].points
    assert (point.at, point.value) == (earlier.replace(second=0), 0.05)
    assert point.low is not None
    assert point.high is not None
    assert 0 < point.low < 0.05 < point.high < 0.12
    assert read["share"].limit == gate("api_error_rate").threshold
    (time,) = read["seconds"].points
    assert time.value == pytest.approx(0.2 + 0.3 * 0.95)
    assert read["seconds"].limit == 2.0


def test_queue_and_backfill_are_what_was_recorded(expanded: Database) -> None:
    with expanded.connect("test") as connection:
        connection.execute(
            "INSERT INTO migration.gate_evaluation (stage, metric, verdict, value, threshold, sample_size) VALUES "
            "('dual_write', 'queue_depth', 'pass', 7, 1000, 7), ('dual_write', 'api_error_rate', 'pass', 0, 0.01, 9)"
        )
        connection.execute(
            "INSERT INTO migration.backfill_batch (entity, partition_key, extraction_run_id, after_id, through_id, "
            "linked_rows, seconds, committed_at) SELECT 'topic', 'p', gen_random_uuid(), n, n + 1, 300, 1, "
            "date_trunc('minute', now()) FROM generate_series(1, 2) AS n"
        )
    read = trends(expanded)

    assert [point.value for point in read["proposals"].points] == [7]
    assert read["proposals"].limit == 1_000
    assert [point.value for point in read["rows per second"].points] == [10]
    assert read["rows per second"].limit is None
