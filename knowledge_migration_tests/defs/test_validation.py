"""Validation beside the phases, as Dagster runs it: value verification, its schedule, and the success criteria."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from knowledge_migration.commands.phase_runs import QUIET
from knowledge_migration.defs.resources import Migration
from knowledge_migration.defs.validation import check_name
from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.check_record import recorded
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.validation.criteria.checklist import SECTIONS
from knowledge_migration_tests.engine.backfill.backfilling import backfill, fill
from knowledge_migration_tests.engine.cutover.stages_reached import stand_at
from knowledge_migration_tests.support.code_location import definitions
from knowledge_migration_tests.support.environment import name_database


@pytest.fixture
def named(expanded: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    """The settings name a database that is backfilled."""
    fill(expanded)
    backfill(expanded)
    name_database(monkeypatch, expanded, tmp_path)
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


def test_a_schedule_with_nothing_to_validate_skips_with_one_sentence(
    named: Connection, database: Database, expanded: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tick(name: str) -> object:
        schedule = next(one for one in definitions().schedules or () if one.name == name)
        assert isinstance(schedule, dg.ScheduleDefinition)
        with (
            dg.DagsterInstance.ephemeral() as instance,
            dg.build_schedule_context(instance=instance, resources={"migration": Migration()}) as context,
        ):
            found = schedule.evaluate_tick(context)
        return found.skip_message or len(found.run_requests or [])

    assert tick("nightly_value_verification") == 1
    assert "Materialize asset dual_write_mode" in str(tick("hourly_integrity"))  # nobody has proven the fence here
    stand_at(expanded, "dual_write")
    named.execute(
        "INSERT INTO migration.evidence (kind, content) VALUES ('dual_write_fence', "
        "jsonb_build_object('flag_version', (SELECT version FROM feature_flags LIMIT 1), 'writers', '[]'::jsonb, 'seconds', 0.1))"
    )
    assert tick("hourly_integrity") == 1
    name_database(monkeypatch, database, tmp_path)
    for name in ("hourly_integrity", "nightly_value_verification", "nightly_quality_validation"):
        assert tick(name) == "There is nothing to do before phase 1."


def test_a_sample_of_the_metrics_shows_plots_and_tables_only_where_it_is_asked(named: Connection) -> None:
    def metadata(*, plots: bool) -> set[str]:
        result = run("validation_metrics", {"ops": {"migration_metrics": {"config": {"plots": plots}}}})
        assert result.success
        return set(result.asset_materializations_for_node("migration_metrics")[0].metadata)

    assert metadata(plots=False) == {"samples", "measured_at"}
    assert {"samples", "measured_at", "plot_migration_progress", "backlog", "runs"} <= metadata(plots=True)


def test_a_suite_without_its_table_only_warns(named: Connection) -> None:
    named.execute("DROP TABLE atom_links")
    found = {check.check_name: check for check in run("validation_quality").get_asset_check_evaluations()}
    absent = found["atom_links_meet_expectations"]
    assert (absent.passed, absent.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "the table atom_links is absent" in str(absent.description)
