"""The migration's metrics: every value comes from the database, with the names and labels that dashboards use."""

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.engine.schema.steps import TARGET_REVISION
from knowledge_migration.engine.status.prometheus import MigrationCollector
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.knowledge.metrics import ServiceExporter
from knowledge_migration_tests.engine.backfill.backfilling import backfill, fill
from knowledge_migration_tests.engine.status.reading import RULES, prepare, read


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
        held = {"level": 0.0, "signal": "replay_lag", "grade": "hard", "reason": "a replica is behind", "kept": 10}
        connection.execute(text_of("pace/record"), held)
    samples = exported(expanded, Flags(enabled=True, cutover_percentage=50, audience="everyone"))
    expected = {
        ("migration_backfilled_rows_total", ("atoms",)): 400,
        ("migration_quarantined_rows", ("atoms", "open")): 2,
        ("migration_backfill_unfinished", ()): 0,
        ("migration_backfill_speed", ("replay_lag", "hard")): 0,
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
    assert samples["migration_backfill_signals_read_timestamp_seconds", ()] > 1.7e9
    assert samples["migration_proof_timestamp_seconds", ("verified_backup",)] > 1.7e9
    assert samples["knowledge_oldest_pending_timestamp_seconds", ("topic",)] > 1.7e9
    assert ("knowledge_oldest_pending_timestamp_seconds", ("atom",)) not in samples


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
