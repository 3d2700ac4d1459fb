"""What /metrics says of the migration: every value from the database, looked up seldom, and nothing where nothing is seen."""

import asyncio

import pytest
import sqlalchemy as sa

from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.knowledge import exporter
from knowledge_migration.knowledge.exporter import Look, MigrationCollector, look
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration_tests.engine.backfill.backfilling import backfill, fill
from knowledge_migration_tests.knowledge.conftest import ServiceMaker


def exported(database: Database, flags: Flags | None = None) -> dict[tuple[str, tuple[str, ...]], float]:
    """Every sample by its name and label values, of a look taken now."""
    collector = MigrationCollector()
    with database.begin() as connection:
        collector.took(look(connection, 10.0), 0.001)
    collector.flags, collector.pool = flags, (3, 10)
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in collector.collect()
        for sample in family.samples
    }


def test_before_phase_1_only_the_tables_are_known(database: Database) -> None:
    found = exported(database)
    assert found["migration_database_visible", ()] == 1
    assert {name for name, _ in found} == {
        "migration_database_visible", "knowledge_pool_connections", "migration_rows", "migration_backfill_unfinished",
    }  # fmt: skip


def test_everything_that_is_exported(expanded: Database) -> None:
    fill(expanded)
    backfill(expanded)
    with expanded.connect("test") as connection:
        prepare(connection)
    found = exported(expanded, Flags(enabled=True, cutover_percentage=50, audience="everyone"))
    expected = {
        ("migration_backfilled_rows_total", ("atoms",)): 400,
        ("migration_quarantined_rows", ("atoms", "open")): 2,
        ("migration_backfill_unfinished", ()): 0,
        ("knowledge_pending_proposals", ("topic",)): 2,
        ("knowledge_pending_proposals", ("atom",)): 0,
        ("knowledge_live_processes", ("off",)): 1,
        ("migration_gate_verdict", ("api_error_rate",)): -1,
        ("migration_gate_value", ("api_error_rate",)): 0.25,
        ("migration_proof_well", ("rollback_drill",)): 0,
        ("migration_proof_well", ("verified_backup",)): 1,
        ("knowledge_flag", ("enabled",)): 1,
        ("knowledge_flag", ("cutover_percentage",)): 50,
        ("knowledge_stage", ("gradual_rollout",)): 1,
        ("knowledge_stage", ("full_cutover",)): 0,
        ("knowledge_pool_connections", ("used",)): 3,
        ("knowledge_pool_connections", ("size",)): 10,
    }
    assert {key: found.get(key) for key in expected} == expected
    assert found["migration_rows", ("atoms",)] > 0
    assert found["migration_proof_timestamp_seconds", ("verified_backup",)] > 1.7e9
    assert found["knowledge_oldest_pending_timestamp_seconds", ("topic",)] > 1.7e9
    assert ("knowledge_oldest_pending_timestamp_seconds", ("atom",)) not in found


def prepare(connection: Connection) -> None:
    """One thing of each kind, and one that must not count."""
    connection.execute("ANALYZE atoms")
    connection.execute(
        "INSERT INTO topic_proposals (id, extraction_run_id, name, description, confidence, status) "
        "SELECT gen_random_uuid(), (SELECT id FROM knowledge_extraction_runs LIMIT 1), 'n' || n, 'd', 0.5, 'pending' "
        "FROM generate_series(1, 2) AS n"
    )
    connection.execute(
        "INSERT INTO migration.quarantine (entity, row_id, reason, sqlstate, state) VALUES ('atom', 9001, 'x', '22001', 'open'), "
        "('atom', 9002, 'x', '22001', 'open')"
    )
    connection.execute(
        "INSERT INTO migration.writer_heartbeat (process, mode, flag_version, started_at, seen_at) VALUES "
        "('a', 'off', 1, now(), now()), ('b', 'off', 1, now(), now() - interval '1 minute')"
    )
    connection.execute(
        "INSERT INTO migration.gate_evaluation (stage, metric, verdict, value) VALUES "
        "('dual_write', 'api_error_rate', 'pass', 0), ('internal_beta', 'api_error_rate', 'fail', 0.25), "
        "('guard of internal_beta', 'api_error_rate', 'pass', 0)"
    )
    evidence.record(connection, "verified_backup", {"path": "x"})
    evidence.record(connection, "rollback_drill", {"well": True})
    evidence.record(connection, "rollback_drill", {"well": False})


def test_where_nothing_is_seen_nothing_old_is_said() -> None:
    collector = MigrationCollector()
    collector.took(None, 0.5)
    samples = [(sample.name, sample.value) for family in collector.collect() for sample in family.samples]
    assert samples == [("migration_database_visible", 0.0)]


@pytest.mark.parametrize(
    ("age", "took", "due"), [(4.9, 0.001, False), (5.1, 0.001, True), (9.0, 0.05, False), (10.1, 0.05, True)]
)
def test_a_look_that_takes_long_is_taken_more_seldom(
    monkeypatch: pytest.MonkeyPatch, age: float, took: float, due: bool
) -> None:
    now = 1_000.0
    monkeypatch.setattr(exporter.time, "monotonic", lambda: now)
    collector = MigrationCollector()
    assert collector.is_due(5.0)
    collector.took(None, took)
    now += age
    assert collector.is_due(5.0) is due
    assert collector.is_due(0)


def test_scrapes_within_the_interval_ask_the_database_once(
    make_service: ServiceMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []

    def counted(connection: sa.Connection, live_seconds: float) -> Look:
        looks.append(1)
        return look(connection, live_seconds)

    monkeypatch.setattr("knowledge_migration.knowledge.service.look", counted)

    async def scrape() -> None:
        service = make_service(metrics_seconds=60.0)
        async with service.running():
            await asyncio.gather(*(service.refresh_metrics() for _ in range(50)))
            await service.refresh_metrics()

    asyncio.run(scrape())
    assert looks == [1]
