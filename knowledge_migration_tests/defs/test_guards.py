"""Every asset that writes evaluates its guards in its own step: launched alone through the webserver's GraphQL API, with the
parameters that the UI sends and a guard violated, it writes nothing.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from psycopg import sql

from knowledge_migration.defs.guards import CHECK, GUARDS
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration_tests.support.code_location import definitions
from knowledge_migration_tests.support.environment import name_database
from knowledge_migration_tests.support.webserver import Run, Webserver, webserver_in_process

pytestmark = pytest.mark.filterwarnings(  # a run inside the webserver's event loop
    "ignore:coroutine 'BaseEventLoop.shutdown_asyncgens'",
    "ignore:Property `ScheduleDefinition.environment_vars`",
)

READS_ONLY = {"success_criteria", "performance_comparison", "quality_suites"}
"""Reports about a database in any state: they write nothing but their evidence."""

PARTITION = {"cutover_gates": "internal_beta", "cutover_stage": "internal_beta"}
SAME_STEP = {"verified_backup": ("data_inventory", "legacy_fingerprint")}
"""The UI also selects the assets that the same step makes."""
UNGUARDED_TABLES = ("check_record", "gate_evaluation")
"""A refusal and the verdicts of the gates are recorded."""

NO_BACKUP = "DELETE FROM migration.evidence WHERE kind = 'verified_backup'"
ALTERED_ROWS = "UPDATE atoms SET content = 'altered' WHERE id = 7"
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
    *(
        (asset, ALTERED_ROWS, "legacy rows")
        for asset in ("legacy_path_retirement", "extraction_archive", "index_maintenance")
    ),
    ("migration_metrics", NO_PROPOSALS, "proposal schema"),
    ("integrity_validation", NO_WRITER, "live processes"),
    ("value_verification", NO_PROPOSALS, "proposal schema"),
    ("performance_validation", NO_PROPOSALS, "proposal schema"),
    ("functional_validation", "", "permission"),
    ("load_test", "", "permission"),
]


@pytest.fixture
def rows(ready_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    """A session on the test's database, which the settings name: every requirement is met but the rehearsal."""
    name_database(monkeypatch, ready_database, tmp_path)
    with ready_database.connect("test") as connection:
        yield connection


@pytest.fixture(scope="module")
def ui() -> Iterator[Webserver]:
    """The webserver, whose runs are executed here."""
    with webserver_in_process() as served:
        yield served


def launched(ui: Webserver, asset: str) -> Run:
    """The asset alone, as its page launches it."""
    partition = PARTITION.get(asset)
    if asset in ("topic_backfill", "atom_backfill"):
        partition = "000000001"
        ui.add_partition(f"{asset.removesuffix('_backfill')}_id_ranges", partition)
    return ui.launch("__ASSET_JOB", assets=[asset, *SAME_STEP.get(asset, ())], partition=partition)


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
            query = sql.SQL("SELECT md5(string_agg(row::text, '' ORDER BY row::text)) AS rows FROM {} AS row WHERE {}")
            seals = "kind <> 'audit_seal'" if one["bare"] == "evidence" else "true"  # an evaluation seals the audit log
            row = connection.execute(query.format(sql.SQL(one["name"]), sql.SQL(seals))).fetchone()
            contents[one["name"]] = row["rows"] if row else None
    return contents


@pytest.mark.parametrize(("asset", "violation", "requirement"), VIOLATIONS)
def test_an_asset_launched_alone_writes_nothing_where_a_guard_is_violated(
    ui: Webserver, rows: Connection, asset: str, violation: str, requirement: str
) -> None:
    if violation:
        rows.execute(violation)
    before = written(rows)

    run = launched(ui, asset)

    assert run.status == "FAILURE"
    ((step, message),) = run.failures.items()
    (title, *_) = message.splitlines()
    assert "is refused" in title
    missing = {row["requirement"]: row for row in run.missing[step]}
    assert requirement in missing
    assert all(row["how to get it"] for row in missing.values()), missing
    assert run.checks[asset, CHECK] is False
    assert run.materialized == []
    assert written(rows) == before


@pytest.mark.parametrize("asset", sorted(GUARDS.keys() - {"evidence_store"}))
def test_on_a_database_before_phase_0_every_other_asset_is_refused(
    ui: Webserver, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asset: str
) -> None:
    name_database(monkeypatch, database, tmp_path)
    with database.connect("test") as connection:
        before = written(connection)
        run = launched(ui, asset)
        assert written(connection) == before
    assert (run.status, run.checks) == ("FAILURE", {(asset, CHECK): False})


def test_preflight_is_the_guard_of_the_first_write(
    ui: Webserver, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_database(monkeypatch, database, tmp_path)
    with database.connect("test") as connection:
        connection.execute("DROP TABLE atoms CASCADE")
        before = written(connection)
        assert launched(ui, "evidence_store").status == "FAILURE"
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
