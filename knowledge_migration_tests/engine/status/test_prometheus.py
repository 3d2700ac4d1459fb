"""The migration's metrics: every value comes from the database, with the names and labels that dashboards use."""

from dataclasses import replace

from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.schema.steps import TARGET_REVISION
from knowledge_migration.engine.status.prometheus import MigrationCollector
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.knowledge.metrics import ServiceExporter, read_service_state
from knowledge_migration_tests.engine.backfill.backfilling import backfill, fill
from knowledge_migration_tests.engine.status.test_snapshot import RULES


def read(database: Database, exporter: ServiceExporter, flags: Flags | None = None) -> None:
    """Fills an exporter as the service does, now."""
    with database.begin() as connection:
        state = read_service_state(connection, 10.0)
    exporter.keep(replace(state, collected=MigrationCollector(database, RULES).collect()), 0.001)
    exporter.flags, exporter.pool = flags, (3, 10)


def exported(database: Database, flags: Flags | None = None) -> dict[tuple[str, tuple[str, ...]], float]:
    """Every sample by its name and label values, of a reading taken now."""
    exporter = ServiceExporter()
    read(database, exporter, flags)
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in exporter.collect()
        for sample in family.samples
    }


def test_before_phase_1_only_the_tables_are_known(database: Database) -> None:
    samples = exported(database)
    assert samples["migration_database_visible", ()] == 1
    assert {name for name, _ in samples} == {
        "migration_database_visible", "knowledge_pool_connections", "migration_rows", "migration_backfill_unfinished",
    }  # fmt: skip


def test_everything_that_is_exported(expanded: Database) -> None:
    fill(expanded)
    backfill(expanded)
    with expanded.connect("test") as connection:
        prepare(connection)
    samples = exported(expanded, Flags(enabled=True, cutover_percentage=50, audience="everyone"))
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
    assert {key: samples.get(key) for key in expected} == expected
    assert samples["migration_rows", ("atoms",)] > 0
    assert samples["migration_proof_timestamp_seconds", ("verified_backup",)] > 1.7e9
    assert samples["knowledge_oldest_pending_timestamp_seconds", ("topic",)] > 1.7e9
    assert ("knowledge_oldest_pending_timestamp_seconds", ("atom",)) not in samples


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
    evidence.record(connection, "verified_backup", {"path": "/nowhere/backup.dump", "bytes": 1})
    evidence.record(connection, "rollback_drill", {"passed": True})
    evidence.record(connection, "rollback_drill", {"passed": False})


def test_health_facts_are_the_revision_and_the_status_of_the_run(expanded: Database) -> None:
    fill(expanded)
    before = MigrationCollector(expanded, RULES).collect()
    backfill(expanded)
    after = MigrationCollector(expanded, RULES).collect()
    assert before
    assert after
    assert before.schema_revision == after.schema_revision
    assert after.schema_revision == TARGET_REVISION
    assert (before.backfill, after.backfill) == (None, "completed")


def test_without_the_database_nothing_is_collected() -> None:
    assert MigrationCollector(Database("postgresql://nobody@127.0.0.1:1/nothing"), RULES).collect() is None
