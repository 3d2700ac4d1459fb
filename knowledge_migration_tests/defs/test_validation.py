"""Validation beside the phases, as Dagster runs it: value verification, its schedule, and the success criteria."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from knowledge_migration.commands.phase_runs import QUIET
from knowledge_migration.defs.validation import check_name
from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.check_record import recorded
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.validation.criteria.checklist import SECTIONS
from knowledge_migration_tests.engine.backfill.backfilling import backfill, fill
from knowledge_migration_tests.support.code_location import definitions


@pytest.fixture
def named(expanded: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    """The settings name a database that is backfilled."""
    fill(expanded)
    backfill(expanded)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KNOWLEDGE_MIGRATION_DATABASE_URL", expanded.url)
    monkeypatch.setenv("KNOWLEDGE_MIGRATION_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("VERIFICATION_SETTLE_SECONDS", "0")
    with expanded.connect("test") as connection:
        yield connection


def run(job: str, config: dict[str, object] | None = None) -> dg.ExecuteInProcessResult:
    """One run of a job on an instance of its own."""
    with dg.DagsterInstance.ephemeral() as instance:
        return (
            definitions()
            .resolve_job_def(job)
            .execute_in_process(instance=instance, run_config={**QUIET, **(config or {})}, raise_on_error=False)
        )


def test_a_wrong_copy_fails_the_check_and_the_run(named: Connection) -> None:
    assert run("validation_values").success
    named.execute("UPDATE atom_proposals SET title = 'other' WHERE title = 'atom 3'")
    result = run("validation_values")
    (check,) = [one for one in result.get_asset_check_evaluations() if one.check_name == "no_value_differs"]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert check.metadata["offending"].value == 1
    materialized = result.asset_materializations_for_node("value_verification")[0]
    assert materialized.metadata["differing_rows"].value == 1


def test_the_whole_can_be_asked_for(named: Connection) -> None:
    run("validation_values")
    run("validation_values", {"ops": {"value_verification": {"config": {"whole": True}}}})
    kept = evidence.latest(named, "value_verification")
    assert kept
    assert kept.content["why_whole"] == "it was requested"


def test_the_criteria_are_judged_kept_and_pass_only_where_all_of_a_section_hold(named: Connection) -> None:
    result = run("validation_criteria")
    assert result.success
    found = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert set(found) == {check_name(section) for section in SECTIONS}
    assert found["backfill_criteria_are_met"].passed
    functional = found["functional_criteria_are_met"]
    assert (functional.passed, functional.severity) == (False, dg.AssetCheckSeverity.WARN)
    named.execute("UPDATE atoms SET migrated_from_proposal_id = NULL, migration_timestamp = NULL WHERE id = 3")
    broken = {check.check_name: check for check in run("validation_criteria").get_asset_check_evaluations()}
    assert broken["backfill_criteria_are_met"].severity == dg.AssetCheckSeverity.ERROR
    kept = evidence.latest(named, "success_criteria")
    assert kept
    assert {row["verdict"] for row in kept.content["rows"] if row["name"] == "atoms_linked"} == {"not met"}


def test_every_evaluation_is_on_record_in_the_database(named: Connection) -> None:
    evaluated = {
        (check.asset_key.to_user_string(), check.check_name): check.passed
        for job in ("validation_criteria", "validation_values")
        for check in run(job).get_asset_check_evaluations()
    }
    assert {(one.asset, one.name): one.succeeded for one in recorded(named)} == evaluated


def test_every_schedule_says_what_it_costs_and_only_harmless_ones_run_by_default() -> None:
    schedules = {one.name: one for one in definitions().schedules or () if isinstance(one, dg.ScheduleDefinition)}
    assert {
        "hourly_integrity",
        "nightly_value_verification",
        "nightly_quality_validation",
        "weekly_rollback_drill",
    } <= set(schedules)
    for name, schedule in schedules.items():
        assert "cost" in (schedule.description or "").lower(), name
    running = {name for name, one in schedules.items() if one.default_status == dg.DefaultScheduleStatus.RUNNING}
    assert running == schedules.keys() - {"weekly_rollback_drill"}
