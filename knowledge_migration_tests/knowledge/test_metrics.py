"""What /metrics exports of the service: read seldom, and no value where the database cannot be read."""

import asyncio
import time
from dataclasses import dataclass

import pytest
import sqlalchemy as sa

from knowledge_migration.knowledge import metrics
from knowledge_migration.knowledge.metrics import CollectedStatus, ServiceExporter, ServiceState, read_service_state
from knowledge_migration_tests.knowledge.conftest import ServiceMaker


@dataclass
class Collected:
    """A collector that reports the same each time."""

    status: CollectedStatus | None

    def collect(self) -> CollectedStatus | None:
        """What it was given."""
        return self.status


def test_after_a_failed_reading_no_old_value_is_exported() -> None:
    exporter = ServiceExporter()
    exporter.keep(None, 0.5)
    samples = [(sample.name, sample.value) for family in exporter.collect() for sample in family.samples]
    assert samples == [("migration_database_visible", 0.0)]


@pytest.mark.parametrize(
    ("age", "took", "due"), [(4.9, 0.001, False), (5.1, 0.001, True), (9.0, 0.05, False), (10.1, 0.05, True)]
)
def test_a_slow_reading_is_repeated_less_often(
    monkeypatch: pytest.MonkeyPatch, age: float, took: float, due: bool
) -> None:
    now = 1_000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    exporter = ServiceExporter()
    assert exporter.is_due(5.0)
    exporter.keep(None, took)
    now += age
    assert exporter.is_due(5.0) is due
    assert exporter.is_due(0)


def test_scrapes_within_the_interval_ask_the_database_once(
    make_service: ServiceMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings: list[int] = []

    def counted(connection: sa.Connection, live_seconds: float) -> ServiceState:
        readings.append(1)
        return read_service_state(connection, live_seconds)

    monkeypatch.setattr(metrics, "read_service_state", counted)

    async def scrape() -> None:
        service = make_service(metrics_seconds=60.0)
        async with service.running():
            await asyncio.gather(*(service.refresh_metrics() for _ in range(50)))
            await service.refresh_metrics()

    asyncio.run(scrape())
    assert readings == [1]


def test_without_a_collector_the_service_exports_its_own_metrics_only(make_service: ServiceMaker) -> None:
    async def scrape() -> set[str]:
        service = make_service()
        async with service.running():
            await service.refresh_metrics()
            return {family.name for family in metrics.exporter.collect() if family.samples}

    assert asyncio.run(scrape()) == {
        "knowledge_flag", "knowledge_stage", "knowledge_pool_connections", "migration_database_visible",
        "knowledge_pending_proposals", "knowledge_live_processes",
    }  # fmt: skip


def test_what_a_collector_reports_is_exported_and_one_that_fails_hides_nothing_else(make_service: ServiceMaker) -> None:
    reported = CollectedStatus("0010_x", "running", (metrics.gauges("migration_rows", "Rows", "table", {"topics": 3}),))

    async def scrape(collected: CollectedStatus | None) -> set[str]:
        service = make_service()
        service.collector = Collected(collected)
        async with service.running():
            await service.refresh_metrics()
            return {family.name for family in metrics.exporter.collect() if family.samples}

    assert "migration_rows" in asyncio.run(scrape(reported))
    assert "knowledge_flag" in asyncio.run(scrape(None))
