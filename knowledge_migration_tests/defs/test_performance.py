"""The performance assets as Dagster runs them: by a job of their own, and at the end of each phase."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from knowledge_migration.commands.phase_runs import QUIET
from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration_tests.support.code_location import definitions
from knowledge_migration_tests.support.environment import ANY_SPEED, UNHURRIED
from knowledge_migration_tests.support.some_rows import SOME_ROWS

CHECKS = {
    "requirements_are_met": True,
    "queries_keep_to_their_limits": True,
    "no_query_reads_a_large_table_whole": True,
    "endpoints_are_as_fast_as_before": True,
}


def name(patch: pytest.MonkeyPatch, database: Database, folder: Path) -> None:
    """The settings name this database, and nothing is slow by them."""
    patch.chdir(folder)
    for variable, value in {
        "KNOWLEDGE_MIGRATION_DATABASE_URL": database.url,
        "KNOWLEDGE_MIGRATION_HOME": str(folder / "home"),
        **ANY_SPEED,
        "MIGRATION_RATE_LIMIT_PER_SECOND": "0",
        "BASELINE_SAMPLES": "20",
        "PERFORMANCE_SAMPLES": "20",
        "KNOWLEDGE_MIGRATION_NO_LIVE_WRITERS": "true",
        "KNOWLEDGE_MIGRATION_SKIP_REHEARSAL_REASON": "it has tests of its own",
        "CUTOVER_GATES": json.dumps(UNHURRIED),
    }.items():
        patch.setenv(variable, value)


@pytest.fixture
def named(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    """A session on a database with some rows, which the settings name."""
    name(monkeypatch, database, tmp_path)
    with database.connect("test") as connection:
        connection.execute(SOME_ROWS)
        yield connection


@pytest.fixture
def migrated(ready_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    """A session on a database after all phases but the cutover, without a baseline, which the settings name."""
    name(monkeypatch, ready_database, tmp_path)
    with ready_database.connect("test") as connection:
        yield connection


def run(instance: dg.DagsterInstance, job: str) -> dg.ExecuteInProcessResult:
    resolved = definitions().resolve_job_def(job)
    return resolved.execute_in_process(instance=instance, run_config=QUIET, raise_on_error=False)


def contents(connection: Connection, kind: str) -> list[dict[str, Any]]:
    rows = connection.execute("SELECT content FROM migration.evidence WHERE kind = %s ORDER BY id", (kind,))
    return [row["content"] for row in rows]


def test_lists_beyond_their_limits_fail_the_check_and_not_the_run(
    migrated: Connection, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = definitions().resolve_implicit_global_asset_job_def()
    baseline = whole.get_subset(asset_selection={dg.AssetKey("performance_baseline")})
    assert baseline.execute_in_process(instance=instance, run_config=QUIET).success
    result = run(instance, "validation_performance")
    assert result.success
    assert {one.check_name: one.passed for one in result.get_asset_check_evaluations()} == CHECKS
    assert contents(migrated, "performance_comparison")[-1]["phase"] == "operations"
    (validated,) = contents(migrated, "performance_validation")
    assert (validated["proposals"], validated["passed"]) == (460, True)
    metadata = result.asset_materializations_for_node("performance_validation")[0].metadata
    assert "Index Scan" in str(metadata["plan_atoms_page"].value) or "Seq Scan" in str(
        metadata["plan_atoms_page"].value
    )

    monkeypatch.setenv(
        "CUTOVER_GATES", '{"slow_run_histories": {"limit_seconds": 1e-6}, "extraction_slowdown": {"threshold": 1e-6}}'
    )
    monkeypatch.setenv("PERFORMANCE_LARGE_TABLE_ROWS", "1")
    result = run(instance, "validation_performance")
    assert result.success
    found = {one.check_name: (one.passed, one.severity.name) for one in result.get_asset_check_evaluations()}
    assert found == {
        "requirements_are_met": (True, "ERROR"),
        "queries_keep_to_their_limits": (False, "ERROR"),
        "no_query_reads_a_large_table_whole": (False, "WARN"),
        "endpoints_are_as_fast_as_before": (False, "WARN"),
    }


def test_a_listed_page_that_does_not_answer_fails_the_baseline_by_its_name(
    named: Connection, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BASELINE_URLS", '["http://ada:s3cr3t@127.0.0.1:1/page"]')
    result = run(instance, "phase_0_preparation")
    (failure,) = result.get_step_failure_events()
    assert failure.step_key == "performance_baseline"
    words = failure.step_failure_data.user_failure_data.description
    assert "http://127.0.0.1:1/page does not answer" in words
    assert "s3cr3t" not in str(failure)
    assert contents(named, "performance_baseline") == []
    assert evidence.latest(named, "data_quality")


def test_without_a_baseline_nothing_is_compared_and_the_run_stands(
    migrated: Connection, instance: dg.DagsterInstance
) -> None:
    result = run(instance, "phase_3_completion")
    assert result.success
    (check,) = (
        one for one in result.get_asset_check_evaluations() if one.check_name == "endpoints_are_as_fast_as_before"
    )
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert contents(migrated, "performance_comparison") == []
