"""Every asset that writes evaluates its guards in its own step: launched alone, with a guard violated, it writes nothing."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from psycopg import sql

from knowledge_migration.defs.guards import CHECK, GUARDS
from knowledge_migration.defs.resources import Migration
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration_tests.engine.cutover.ready import made_ready
from knowledge_migration_tests.support.code_location import definitions
from knowledge_migration_tests.support.environment import name_database

READS_ONLY = {"success_criteria", "performance_comparison", "quality_suites"}
"""Reports about a database in any state: they write nothing but their evidence."""

PARTITION = {"cutover_gates": "internal_beta", "cutover_stage": "internal_beta"}
UNGUARDED_TABLES = ("check_record", "gate_evaluation")
"""A refusal and the verdicts of the gates are recorded."""

NO_BACKUP = "DELETE FROM migration.evidence WHERE kind = 'verified_backup'"
NO_PLAN = "DELETE FROM migration.evidence WHERE kind = 'backfill_plan'"
NO_FENCE = "DELETE FROM migration.evidence WHERE kind = 'dual_write_fence'"
NO_REPORT = "DELETE FROM migration.evidence WHERE kind = 'data_quality'"
NO_WRITER = "DELETE FROM migration.writer_heartbeat"
NO_INDEX = "DROP INDEX idx_topics_migration"
DIRECT_WRITER = "UPDATE migration.writer_heartbeat SET mode = 'off'"
NO_PROPOSALS = "ALTER TABLE topic_proposals RENAME TO elsewhere"

VIOLATIONS = [
    ("demonstration_database", "", "embedded database"),
    ("demonstration_service", "", "embedded database"),
    ("verified_backup", "DROP SCHEMA migration CASCADE", "evidence store"),
    ("data_quality_report", "DROP SCHEMA migration CASCADE", "evidence store"),
    ("performance_baseline", "DROP SCHEMA migration CASCADE", "evidence store"),
    ("staging_rehearsal", NO_BACKUP, "verified backup"),
    ("rollback_drill", NO_BACKUP, "verified backup"),
    ("proposal_schema", NO_BACKUP, "verified backup"),
    ("proposal_schema", "", "rehearsal"),
    ("feature_flag_store", NO_INDEX, "proposal schema"),
    ("dual_write_mode", NO_INDEX, "proposal schema"),
    ("dual_write_probe", NO_FENCE, "dual write"),
    ("backfill_plan", NO_REPORT, "data quality"),
    ("backfill_plan", "", "rehearsal"),
    *(
        (asset, violation, requirement)
        for asset in ("topic_backfill", "atom_backfill")
        for violation, requirement in (
            (NO_INDEX, "proposal schema"),
            (NO_FENCE, "dual write"),
            (NO_WRITER, "live processes"),
            (DIRECT_WRITER, "live processes"),
            (NO_REPORT, "data quality"),
            (NO_PLAN, "backfill plan"),
            ("", "rehearsal"),
        )
    ),
    ("backfill_completion", NO_PLAN, "backfill plan"),
    ("backfill_completion", NO_FENCE, "dual write"),
    ("cutover_gates", NO_PROPOSALS, "proposal schema"),
    ("cutover_stage", NO_BACKUP, "verified backup"),
    ("cutover_stage", NO_FENCE, "dual write"),
    ("legacy_path_retirement", NO_INDEX, "proposal schema"),
    ("extraction_archive", NO_INDEX, "proposal schema"),
    ("index_maintenance", NO_PROPOSALS, "proposal schema"),
    ("migration_metrics", NO_PROPOSALS, "proposal schema"),
    ("integrity_validation", NO_WRITER, "live processes"),
    ("value_verification", NO_PROPOSALS, "proposal schema"),
    ("performance_validation", NO_PROPOSALS, "proposal schema"),
    ("functional_validation", "", "permission"),
    ("load_test", "", "permission"),
]


@pytest.fixture
def named(expanded: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings name the test's database."""
    name_database(monkeypatch, expanded, tmp_path)


def launched(asset: str, partition: str | None = None) -> dg.ExecuteInProcessResult:
    """The asset alone, as its page launches it."""
    location = definitions()
    owner = next(
        one for one in location.assets or [] if isinstance(one, dg.AssetsDefinition) and dg.AssetKey(asset) in one.keys
    )
    with dg.DagsterInstance.ephemeral() as instance:
        if isinstance(owner.partitions_def, dg.DynamicPartitionsDefinition):
            partition = "000000001"
            instance.add_dynamic_partitions(str(owner.partitions_def.name), [partition])
        return dg.materialize(
            [owner],
            instance=instance,
            resources={"migration": Migration()},
            partition_key=partition,
            raise_on_error=False,
        )


def written(connection: Connection) -> dict[str, Any]:
    """Every relation of the database's own schemas with its columns, and a checksum of every table's rows."""
    relations = connection.execute(
        "SELECT class.oid::regclass::text AS name, class.relkind::text AS kind, class.relname AS bare "
        "FROM pg_class AS class JOIN pg_namespace AS space ON space.oid = class.relnamespace "
        "WHERE space.nspname IN ('public', 'migration') ORDER BY 1"
    ).fetchall()
    contents: dict[str, Any] = {}
    for one in relations:
        contents[one["name"]] = one["kind"]
        if one["kind"] == "r" and one["bare"] not in UNGUARDED_TABLES:
            query = sql.SQL("SELECT md5(string_agg(row::text, '' ORDER BY row::text)) AS rows FROM {} AS row")
            row = connection.execute(query.format(sql.SQL(one["name"]))).fetchone()
            contents[one["name"]] = row["rows"] if row else None
    return contents


@pytest.mark.parametrize(("asset", "violation", "requirement"), VIOLATIONS)
def test_an_asset_launched_alone_writes_nothing_where_a_guard_is_violated(
    expanded: Database, rows: Connection, named: None, tmp_path: Path, asset: str, violation: str, requirement: str
) -> None:
    made_ready(expanded, rows, tmp_path)
    if violation:
        rows.execute(violation)
    before = written(rows)

    result = launched(asset, PARTITION.get(asset))

    assert not result.success
    (step,) = [event for event in result.all_events if event.is_step_failure]
    failed = step.step_failure_data.user_failure_data
    assert failed is not None, step.step_failure_data.error
    assert failed.description is not None
    assert "\n" not in failed.description
    assert "is refused" in failed.description
    missing = {row.data["requirement"]: row.data for row in failed.metadata["missing"].records}
    assert requirement in missing
    assert all(row["how to get it"] for row in missing.values()), missing
    checks = {one.check_name: one for one in result.get_asset_check_evaluations()}
    assert not checks[CHECK].passed
    assert checks[CHECK].metadata["missing"].value == len(missing)
    assert not result.asset_materializations_for_node(step.step_key)
    assert written(rows) == before


@pytest.mark.parametrize("asset", sorted(GUARDS.keys() - {"evidence_store"}))
def test_on_a_database_before_phase_0_every_other_asset_is_refused(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asset: str
) -> None:
    name_database(monkeypatch, database, tmp_path)
    with database.connect("test") as connection:
        before = written(connection)
        result = launched(asset, PARTITION.get(asset))
        assert written(connection) == before
    assert not result.success
    (check,) = result.get_asset_check_evaluations()
    assert (check.check_name, check.passed) == (CHECK, False)


def test_preflight_is_the_guard_of_the_first_write(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_database(monkeypatch, database, tmp_path)
    with database.connect("test") as connection:
        connection.execute("DROP TABLE atoms CASCADE")
        before = written(connection)
        result = launched("evidence_store")
        assert not result.success
        assert written(connection) == before


def test_every_asset_has_guards_or_only_reads() -> None:
    guarded, unguarded = set(), set()
    for owner in definitions().assets or []:
        if isinstance(owner, dg.AssetsDefinition) and owner.is_materializable:
            found = {spec.asset_key.to_user_string() for spec in owner.check_specs if spec.name == CHECK}
            guarded |= found
            unguarded |= set() if found else {owner.node_def.name}
    assert guarded == GUARDS.keys() | {"cutover_stage"}
    assert unguarded == READS_ONLY
    assert {asset for asset, *_ in VIOLATIONS} == guarded - {"evidence_store"}
