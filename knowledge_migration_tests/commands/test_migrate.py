"""The main job on a database that a user names: what it does, what it refuses, and what a second call finds."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import dagster as dg
import psutil
import pytest
from psycopg import sql
from typer.testing import CliRunner

from knowledge_migration.commands.application import app
from knowledge_migration.commands.migrate import end_with_children
from knowledge_migration.commands.phase_runs import QUIET, PhaseSummary, migrate
from knowledge_migration.demo.loader import load
from knowledge_migration.engine.backfill import quarantine
from knowledge_migration.engine.foundation import fingerprint
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.schema import upgrade as schema
from knowledge_migration.installation import Installation
from knowledge_migration.knowledge.audit import AuditAction
from knowledge_migration.settings import SchemaChangeSettings, load_settings
from knowledge_migration_tests.conftest import SHARED_DATA, cloned
from knowledge_migration_tests.serving import PEOPLE_AND_MESSAGES, serving
from knowledge_migration_tests.support.code_location import definitions
from knowledge_migration_tests.support.environment import UNHURRIED, name_database
from knowledge_migration_tests.support.json_lines import JsonLinesFolder
from knowledge_migration_tests.support.some_rows import SOME_ROWS

PROJECT = Path(__file__).parents[2]
NOT_ASKED = [
    "rehearsed_rollbacks_are_equal_and_in_time",  # a setting says why not
    "extraction_still_works",  # no setting says where a service answers
]


def name_settings(patch: pytest.MonkeyPatch, database: Database, folder: Path) -> None:
    """The settings name the database; nothing is limited in rate."""
    name_database(patch, database, folder)
    patch.setenv("MIGRATION_PARTITION_ROWS", "100")
    patch.setenv("BASELINE_SAMPLES", "20")
    patch.setenv("PERFORMANCE_SAMPLES", "20")
    patch.setenv("CUTOVER_GATES", json.dumps(UNHURRIED))
    patch.setenv("KNOWLEDGE_MIGRATION_NO_LIVE_WRITERS", "true")
    patch.setenv("KNOWLEDGE_MIGRATION_SKIP_REHEARSAL_REASON", "it has tests of its own")


@pytest.fixture
def named(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    """The settings name the test's empty legacy database."""
    name_settings(monkeypatch, database, tmp_path)
    return database


@dataclass(frozen=True)
class AfterPhase1:
    """A database with rows, users and messages after phases 0 and 1, the folder of its backups, and its rows before."""

    database: Database
    folder: Path
    before: fingerprint.Fingerprint


@pytest.fixture(scope="module")
def after_phase_1(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AfterPhase1]:
    """The phases take 5 s of CPU time."""
    folder = tmp_path_factory.mktemp("after_phase_1")
    with cloned(server) as database:
        with database.connect("test template") as connection:
            connection.execute(SOME_ROWS)
            connection.execute("DELETE FROM users")
            connection.execute(PEOPLE_AND_MESSAGES.replace("generate_series(1, 20)", "generate_series(2, 22)"))
            before = fingerprint.take(connection)
        with (
            pytest.MonkeyPatch.context() as patch,
            serving(database) as url,
            dg.DagsterInstance.ephemeral() as instance,
        ):
            name_settings(patch, database, folder)
            patch.setenv("KNOWLEDGE_SERVICE_URL", url)
            phases = list(islice(migrate(database, instance, on_phase=lambda _: None), 2))
        assert [(phase.phase, phase.errors) for phase in phases] == [("0 preparation", ()), ("1 schema", ())]
        assert [check.name for phase in phases for check in phase.checks if not check.succeeded] == NOT_ASKED[:1]
        yield AfterPhase1(database, folder, before)


@pytest.fixture
def prepared(server: EmbeddedServer, after_phase_1: AfterPhase1, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """The settings name a copy of it."""
    with cloned(server, after_phase_1.database.name) as copy:
        name_settings(monkeypatch, copy, after_phase_1.folder)
        yield copy


@pytest.fixture
def rows(prepared: Database) -> Iterator[Connection]:
    """A session on the copy."""
    with prepared.connect("test") as connection:
        yield connection


def run(database: Database, instance: dg.DagsterInstance) -> list[PhaseSummary]:
    """The phases but the cutover, which bakes for days on a database of one's own."""
    summaries = list(migrate(database, instance, on_phase=lambda _: None))
    if all(summary.succeeded for summary in summaries):
        waiting = summaries.pop()
        assert (waiting.phase, waiting.skipped, waiting.done[:22]) == ("4 cutover", True, "waits for the operator")
    return summaries


def digest(connection: Connection) -> dict[str, str]:
    """A checksum of every row of every table of the database."""
    tables = connection.execute("SELECT relid::regclass::text AS name FROM pg_stat_user_tables").fetchall()
    contents = "SELECT coalesce(md5(string_agg(t::text, '|' ORDER BY t::text)), 'empty') AS digest FROM {} AS t"
    found = {}
    for table in tables:
        row = connection.execute(sql.SQL(contents).format(sql.SQL(table["name"]))).fetchone()
        assert row
        found[table["name"]] = str(row["digest"])
    return found


def count(connection: Connection, query: str) -> int:
    row = connection.execute(query).fetchone()
    assert row
    return int(next(iter(row.values())))


def test_all_phases_run_are_recorded_and_validated_and_a_second_call_changes_nothing(
    named: Database, connection: Connection, instance: dg.DagsterInstance
) -> None:
    connection.execute(SOME_ROWS)
    before = fingerprint.take(connection)
    summaries = run(named, instance)
    assert [(summary.phase, summary.succeeded, summary.errors) for summary in summaries] == [
        ("0 preparation", True, ()),
        ("1 schema", True, ()),
        ("2 dual write", True, ()),
        ("3 backfill", True, ()),
    ]
    assert summaries[2].done == "skipped: KNOWLEDGE_MIGRATION_NO_LIVE_WRITERS is set"
    assert [check.name for summary in summaries for check in summary.checks if not check.succeeded] == NOT_ASKED
    assert (
        count(connection, "SELECT count(*) FROM atoms JOIN atom_proposals p ON p.id = migrated_from_proposal_id") == 250
    )
    assert fingerprint.differences(before, fingerprint.take(connection, like=before)) == []
    assert len(instance.get_materialized_partitions(dg.AssetKey("atom_backfill"))) == 3
    assert instance.get_latest_materialization_event(dg.AssetKey("backfill_completion"))
    compared = connection.execute(
        "SELECT content ->> 'phase' AS phase FROM migration.evidence WHERE kind = 'performance_comparison' ORDER BY id"
    ).fetchall()
    assert [row["phase"] for row in compared] == ["phase_1_schema", "phase_3_backfill"]

    migrated, runs = digest(connection), len(instance.get_runs())
    again = run(named, instance)
    assert all(summary.skipped and summary.done.startswith(("already done", "skipped")) for summary in again)
    assert (digest(connection), len(instance.get_runs())) == (migrated, runs)

    connection.execute("UPDATE atoms SET migrated_from_proposal_id = NULL, migration_timestamp = NULL WHERE id = 3")
    assert failed_checks(instance, "validation") == {
        "every_atom_has_a_proposal",
        "no_approved_atom_proposal_is_orphaned",
    }


def failed_checks(instance: dg.DagsterInstance, job: str) -> set[str]:
    """The checks of a job that did not pass."""
    result = (
        definitions().resolve_job_def(job).execute_in_process(instance=instance, raise_on_error=False, run_config=QUIET)
    )
    evaluations = [
        event.event_specific_data for event in result.all_events if event.event_type_value == "ASSET_CHECK_EVALUATION"
    ]
    assert len(evaluations) > 25
    return {evaluation.check_name for evaluation in evaluations if not evaluation.passed}


def test_a_database_that_is_not_the_legacy_schema_is_refused_and_nothing_is_written(
    named: Database, connection: Connection, instance: dg.DagsterInstance
) -> None:
    connection.execute("ALTER TABLE topics DROP COLUMN description")
    (summary,) = run(named, instance)
    assert not summary.succeeded
    (error,) = summary.errors
    assert error.startswith("evidence_store: evidence_store is refused: 1 of")
    assert "\npreflight, legacy schema is as expected: 1 violations: " in error
    assert count(connection, "SELECT count(*) FROM pg_namespace WHERE nspname = 'migration'") == 0


def test_an_empty_database_is_refused_and_nothing_is_created_in_it(
    named: Database, connection: Connection, instance: dg.DagsterInstance
) -> None:
    connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    (summary,) = run(named, instance)
    assert not summary.succeeded
    assert count(connection, "SELECT count(*) FROM pg_stat_user_tables") == 0


def test_phase_1_alone_is_refused_without_a_verified_backup(
    named: Database, connection: Connection, instance: dg.DagsterInstance
) -> None:
    connection.execute(SOME_ROWS)
    result = (
        definitions()
        .resolve_job_def("phase_1_schema")
        .execute_in_process(instance=instance, raise_on_error=False, run_config=QUIET)
    )
    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "Materialize asset verified_backup (job phase_0_preparation) first" in str(
        failure.step_failure_data.user_failure_data
    )
    assert count(connection, "SELECT count(*) FROM pg_class WHERE relname = 'topic_proposals'") == 0


def test_phase_2_stores_the_flags_that_an_interrupted_phase_1_has_not(
    named: Database, connection: Connection, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.execute(PEOPLE_AND_MESSAGES)
    monkeypatch.delenv("KNOWLEDGE_MIGRATION_NO_LIVE_WRITERS")
    schema.upgrade(named, SchemaChangeSettings())
    with serving(named):
        job = definitions().resolve_job_def("phase_2_dual_write")
        job.execute_in_process(instance=instance, raise_on_error=False, run_config=QUIET)
    assert count(connection, "SELECT count(*) FROM feature_flags WHERE config ->> 'dual_write' = 'true'") == 1


def test_an_altered_backup_file_keeps_the_schema_phase_from_starting(
    named: Database, connection: Connection, instance: dg.DagsterInstance
) -> None:
    connection.execute(SOME_ROWS)
    job = definitions().resolve_job_def("phase_0_preparation")
    assert job.execute_in_process(instance=instance, run_config=QUIET).success
    (dump,) = Installation(load_settings()).backups.directory.glob("*.dump")
    dump.write_bytes(dump.read_bytes() + b"x")
    result = (
        definitions()
        .resolve_job_def("phase_1_schema")
        .execute_in_process(instance=instance, raise_on_error=False, run_config=QUIET)
    )
    assert not result.success
    assert count(connection, "SELECT count(*) FROM pg_class WHERE relname = 'topic_proposals'") == 0


def test_a_finding_that_blocks_keeps_phase_0_open_until_it_is_repaired(
    named: Database, connection: Connection, instance: dg.DagsterInstance
) -> None:
    connection.execute(SOME_ROWS)
    connection.execute("ALTER TABLE topic_atoms DROP CONSTRAINT topic_atoms_topic_id_fkey")
    connection.execute("INSERT INTO topic_atoms (topic_id, atom_id) VALUES (9999, 1)")
    (summary,) = run(named, instance)
    assert [check.name for check in summary.failed_checks] == ["no_finding_blocks_the_backfill"]
    connection.execute("DELETE FROM topic_atoms WHERE topic_id = 9999")
    again = next(iter(migrate(named, instance, on_phase=lambda _: None)))
    assert (again.phase, again.succeeded, again.skipped) == ("0 preparation", True, False)


def test_at_a_critical_limit_the_command_stops_with_exit_1_and_the_next_one_resumes(
    prepared: Database, rows: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(PROJECT))
    monkeypatch.setattr(dg.DagsterInstance, "get", dg.DagsterInstance.ephemeral)
    monkeypatch.setenv("MIGRATION_RATE_LIMIT_PER_SECOND", "auto")
    monkeypatch.setenv("MIGRATION_SIGNAL_LIMITS", json.dumps({"canary": {"soft": None, "hard": None, "critical": 0}}))
    stopped = CliRunner().invoke(app, ["migrate"])
    assert stopped.exit_code == 1
    assert "stopped: canary is " in stopped.output
    assert "(critical limit 0). Look for locks and load: pg_stat_activity." in stopped.output
    assert "run it again" in stopped.output
    assert count(rows, "SELECT count(*) FROM atoms WHERE migrated_from_proposal_id IS NOT NULL") == 0
    monkeypatch.setenv("MIGRATION_RATE_LIMIT_PER_SECOND", "0")
    assert CliRunner().invoke(app, ["migrate"]).exit_code == 0
    assert count(rows, "SELECT count(*) FROM atoms WHERE migrated_from_proposal_id IS NULL") == 0


def test_a_row_in_quarantine_fails_the_rules_until_somebody_decides(
    prepared: Database, rows: Connection, instance: dg.DagsterInstance
) -> None:
    atom = count(
        rows,
        "INSERT INTO atoms (type, title, content, confidence, user_approved) "
        "VALUES ('problem', 't', 'c', 1.5, false) RETURNING id",
    )
    last = run(prepared, instance)[-1]
    assert {check.name for check in last.failed_checks} == {"every_atom_has_a_proposal", "quarantine_is_decided"}
    quarantine.decide(rows, "atom", [atom], "clamp", note="percent instead of share")
    assert run(prepared, instance)[-1].succeeded
    assert count(rows, "SELECT count(*) FROM atoms WHERE migrated_from_proposal_id IS NULL") == 0
    assert count(rows, "SELECT count(*) FROM atoms WHERE confidence = 1.5") == 1


def test_the_rollback_jobs_take_everything_back_and_the_migration_can_be_run_again_between(
    prepared: Database, rows: Connection, after_phase_1: AfterPhase1, instance: dg.DagsterInstance
) -> None:
    before = after_phase_1.before
    run(prepared, instance)

    def roll_back(job: str, op: str) -> bool:
        config = {**QUIET, "ops": {op: {"config": {"reason": "a test"}}}}
        return definitions().resolve_job_def(job).execute_in_process(instance=instance, run_config=config).success

    assert roll_back("rollback_backfill", "remove_backfill")
    summaries = run(prepared, instance)
    assert [summary.skipped for summary in summaries] == [True, True, True, False]
    assert summaries[-1].succeeded

    assert roll_back("rollback_backfill", "remove_backfill")
    assert roll_back("rollback_schema", "remove_schema")
    assert count(rows, "SELECT count(*) FROM pg_class WHERE relname LIKE '%proposal%'") == 0
    assert fingerprint.differences(before, fingerprint.take(rows, like=before)) == []
    actions = rows.execute("SELECT action, reason FROM migration.audit_log ORDER BY id").fetchall()
    assert {row["action"] for row in actions} <= set(AuditAction)
    assert {("rollback backfill", "a test"), ("rollback schema", "a test")} <= {
        (row["action"], row["reason"]) for row in actions
    }


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the real knowledge base is not on this machine")
def test_the_small_real_knowledge_base_migrates_whole(
    named: Database, connection: Connection, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIGRATION_PARTITION_ROWS", "50000")
    load(named, JsonLinesFolder(SHARED_DATA / "small"))
    summaries = run(named, instance)
    assert [summary.succeeded for summary in summaries] == [True, True, True, True]
    assert summaries[-1].rows == 1826 + 11771


def test_dual_write_is_switched_on_proven_and_probed_before_the_backfill(
    prepared: Database, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KNOWLEDGE_MIGRATION_NO_LIVE_WRITERS", "false")
    monkeypatch.setenv("DUAL_WRITE_MEASURED_PAIRS", "10")
    with serving(prepared) as url:
        monkeypatch.setenv("KNOWLEDGE_SERVICE_URL", url)
        summaries = run(prepared, instance)
        assert [(summary.phase, summary.errors) for summary in summaries] == [
            ("0 preparation", ()),
            ("1 schema", ()),
            ("2 dual write", ()),
            ("3 backfill", ()),
        ]
        assert [check.name for summary in summaries for check in summary.checks if not check.succeeded] == []
        assert all(summary.skipped for summary in run(prepared, instance))


def test_without_a_service_the_migration_stops_before_dual_write_and_switches_nothing(
    prepared: Database, rows: Connection, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KNOWLEDGE_MIGRATION_NO_LIVE_WRITERS", "false")
    summaries = run(prepared, instance)
    assert [(summary.succeeded, summary.skipped) for summary in summaries] == [
        (True, True),
        (True, True),
        (False, False),
    ]
    assert "knowledge-migration serve" in summaries[2].errors[0]
    assert count(rows, "SELECT count(*) FROM feature_flags WHERE (config ->> 'dual_write')::boolean") == 0


def test_a_child_of_the_ui_that_ignores_the_interrupt_is_killed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("knowledge_migration.commands.migrate.END_SECONDS", 0.5)
    stubborn = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print(flush=True); time.sleep(600)"
    parent = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {stubborn!r}]); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE)
    assert child.stdout
    assert child.stdout.readline()
    (grandchild,) = psutil.Process(child.pid).children()
    end_with_children(child)
    assert child.poll() is not None
    assert not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE
