"""The sensors that alert, tick by tick on a real instance: each thing is told once, to a real channel, and none is missed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from knowledge_migration.commands.phase_runs import QUIET
from knowledge_migration.defs.resources import Migration
from knowledge_migration.defs.scheduling import BEFORE_PHASE_1
from knowledge_migration.engine.foundation import audit
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.observability import alerts
from knowledge_migration.engine.rollback.flags import roll_back
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.settings import FenceSettings, Settings
from knowledge_migration_tests.channel import channel, titles
from knowledge_migration_tests.engine.cutover.stages_reached import set_, stand_at
from knowledge_migration_tests.support.code_location import definitions

BACKFILL_COMPLETION = dg.AssetKey("backfill_completion")


@pytest.fixture(autouse=True)
def delivered_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process of a delivery, and its end at the time limit, have tests of their own."""

    def attempt(message: dict[str, str], seconds: float) -> str | None:
        return alerts.REASONS.get(alerts.deliver(message))

    monkeypatch.setattr(alerts, "_attempt", attempt)


@pytest.fixture
def hook(expanded: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """The settings name the test's database and one channel."""
    with channel() as (url, got):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("KNOWLEDGE_MIGRATION_DATABASE_URL", expanded.url)
        monkeypatch.setenv("KNOWLEDGE_MIGRATION_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("KNOWLEDGE_MIGRATION_ALERT_URLS", json.dumps([url]))
        yield got


def tick(instance: dg.DagsterInstance, name: str, cursor: str | None = None) -> Any:
    location = definitions()
    repository = location.get_repository_def()
    with dg.build_sensor_context(
        instance=instance,
        repository_def=repository,
        sensor_name=name,
        cursor=cursor,
        resources={"migration": Migration()},
    ) as context:
        return repository.get_sensor_def(name).evaluate_tick(context)


def test_without_a_channel_every_sensor_says_so(
    expanded: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instance: dg.DagsterInstance
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KNOWLEDGE_MIGRATION_DATABASE_URL", expanded.url)
    for name in ("alert_on_failed_checks", "alert_on_decisions", "alert_on_failure_rate"):
        assert "No channel is configured" in tick(instance, name).skip_message


def test_ways_back_and_overrides_are_told_once_each_from_now_on(
    expanded: Database, rows: Connection, hook: list[dict[str, Any]], instance: dg.DagsterInstance
) -> None:
    stand_at(expanded, "gradual_rollout")
    roll_back(expanded, Flags(), Settings(fence=FenceSettings(seconds=5)), "partial", reason="of the past")
    cursor = tick(instance, "alert_on_decisions").cursor
    set_(expanded, cutover_percentage=50)
    roll_back(
        expanded, Flags(), Settings(fence=FenceSettings(seconds=5)), "instant", reason="errors", actor="rollback guard"
    )
    found = tick(instance, "alert_on_decisions", cursor)
    assert titles(hook) == ["Rollback instant"]
    assert "rollback guard" in hook[0]["message"]
    assert "errors" in hook[0]["message"]
    assert tick(instance, "alert_on_decisions", found.cursor).cursor == found.cursor
    assert len(hook) == 1


def test_failed_extractions_are_told_once_an_hour_while_they_fail(
    expanded: Database, rows: Connection, hook: list[dict[str, Any]], instance: dg.DagsterInstance
) -> None:
    def ran(status: str, number: int) -> None:
        rows.execute(
            "INSERT INTO knowledge_extraction_runs (status, message_ids, message_count, settings) "
            """SELECT %s, '[1]', 1, '{"mode": "proposal"}' FROM generate_series(1, %s)""",
            [status, number],
        )

    rows.execute(
        "INSERT INTO knowledge_extraction_runs (status, message_ids, message_count, settings) "
        """SELECT 'failed', '[]', 0, '{"mode": "backfill"}' FROM generate_series(1, 60)"""
    )
    ran("failed", 1)
    assert tick(instance, "alert_on_failure_rate").cursor is None
    assert hook == []
    ran("completed", 99)
    assert "1 of 100" in tick(instance, "alert_on_failure_rate").skip_message
    assert hook == []
    ran("failed", 1)
    first = tick(instance, "alert_on_failure_rate")
    assert titles(hook) == ["Extractions fail"]
    assert "2 of 101 extractions" in hook[0]["message"]
    assert (
        "An alert was sent within the last hour" in tick(instance, "alert_on_failure_rate", first.cursor).skip_message
    )
    tick(instance, "alert_on_failure_rate", json.dumps({"at": 0.0}))  # an hour later it still lasts
    assert len(hook) == 2


def test_a_failed_check_is_told_once_and_a_warning_is_not(
    expanded: Database, rows: Connection, hook: list[dict[str, Any]], instance: dg.DagsterInstance
) -> None:
    whole = definitions().resolve_job_def("validation")
    rules = {key for key in whole.asset_layer.asset_graph.asset_check_keys if key.asset_key == BACKFILL_COMPLETION}
    job = whole.get_subset(asset_selection=set(), asset_check_selection=rules)
    rows.execute("INSERT INTO topics (name, description) VALUES ('unlinked', '')")
    cursor = tick(instance, "alert_on_failed_checks").cursor
    job.execute_in_process(instance=instance, run_config=QUIET, raise_on_error=False)
    found = tick(instance, "alert_on_failed_checks", cursor)
    assert len(hook) == 1
    assert "backfill_completion.every_topic_has_a_proposal: " in hook[0]["message"]
    assert "proposed_topics_match_relations" not in hook[0]["message"]
    tick(instance, "alert_on_failed_checks", found.cursor)
    assert len(hook) == 1


def test_a_failed_run_is_told_with_what_its_step_says(
    expanded: Database, hook: list[dict[str, Any]], instance: dg.DagsterInstance
) -> None:
    location = definitions()
    result = location.resolve_job_def("rollback_partial").execute_in_process(
        instance=instance,
        run_config={**QUIET, "ops": {"set_flags_partial": {"config": {"reason": "a test"}}}},
        raise_on_error=False,
    )
    assert not result.success
    sensor = location.get_repository_def().get_sensor_def("alert_on_failed_runs")
    with dg.build_run_status_sensor_context(
        sensor_name="alert_on_failed_runs",
        dagster_instance=instance,
        dagster_run=result.dagster_run,
        dagster_event=result.get_run_failure_event(),
        resources={"migration": Migration()},
    ).for_run_failure() as context:
        sensor(context)
    assert titles(hook) == ["Failed: rollback_partial"]
    assert "set_flags_partial: Proposals are off already" in hook[0]["message"]
    assert result.run_id in hook[0]["message"]


CHECK = dg.AssetCheckKey(dg.AssetKey("backfill_completion"), "every_topic_has_a_proposal")


def evaluated(instance: dg.DagsterInstance, words: str, *, passed: bool = False, **named: Any) -> None:
    """An evaluation of a check, as a sensor reports one."""
    key = named.pop("key", CHECK)
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            asset_key=key.asset_key, check_name=key.name, passed=passed, metadata={}, description=words, **named
        )
    )


def test_each_failed_evaluation_is_told_and_nothing_else(
    expanded: Database, hook: list[dict[str, Any]], instance: dg.DagsterInstance
) -> None:
    evaluated(instance, "of the past")
    cursor = tick(instance, "alert_on_failed_checks").cursor
    evaluated(instance, "failed, and passed a moment later")
    evaluated(instance, "passed", passed=True)
    evaluated(instance, "a warning", severity=dg.AssetCheckSeverity.WARN)
    evaluated(instance, "of somebody else", key=dg.AssetCheckKey(dg.AssetKey("theirs"), "check"))
    evaluated(instance, "of a partition", partition="7")
    found = tick(instance, "alert_on_failed_checks", cursor)
    name = "backfill_completion.every_topic_has_a_proposal"
    assert hook[0]["message"] == f"{name}: failed, and passed a moment later\n{name} [7]: of a partition"
    tick(instance, "alert_on_failed_checks", found.cursor)
    assert titles(hook) == ["2 checks failed"]


def test_a_check_that_fails_after_a_tick_in_the_middle_of_its_run_is_told(
    expanded: Database, hook: list[dict[str, Any]], instance: dg.DagsterInstance
) -> None:
    cursors = [tick(instance, "alert_on_failed_checks").cursor]

    @dg.asset(name="backfill_completion")
    def asset() -> None:
        """Stands for the real one."""

    @dg.asset_check(asset=asset, name=CHECK.name)
    def check() -> dg.AssetCheckResult:
        cursors.append(tick(instance, "alert_on_failed_checks", cursors[-1]).cursor)
        return dg.AssetCheckResult(passed=False, description="too late")

    definitions = dg.Definitions(assets=[asset], asset_checks=[check])
    definitions.resolve_implicit_global_asset_job_def().execute_in_process(instance=instance)
    assert (len(cursors), hook) == (2, [])
    tick(instance, "alert_on_failed_checks", cursors[-1])
    assert titles(hook) == ["A check failed"]


def test_each_kind_of_decision_is_told_and_no_other_entry(
    expanded: Database, rows: Connection, hook: list[dict[str, Any]], instance: dg.DagsterInstance
) -> None:
    cursor = tick(instance, "alert_on_decisions").cursor
    decisions = (
        "rollback backfill begun",
        "rollback backfill",
        "override rehearsal",
        "guard lower threshold",
        "promote internal_beta",
        "override promotion",
    )
    for action in (*decisions, "approve proposal", "set flags", "schema upgrade", "quarantine retry"):
        audit.record(rows, action, "a subject", reason="a reason", actor="somebody")
    found = tick(instance, "alert_on_decisions", cursor)
    assert titles(hook) == ["6 decisions"]
    told = [line.partition(" UTC, ")[2] for line in hook[0]["message"].splitlines()]
    assert told == [f"somebody: {action}, a subject. a reason" for action in decisions]
    tick(instance, "alert_on_decisions", found.cursor)
    assert len(hook) == 1


def test_a_decision_that_commits_after_a_later_one_was_told_is_told_too(
    expanded: Database, rows: Connection, hook: list[dict[str, Any]], instance: dg.DagsterInstance
) -> None:
    cursor = tick(instance, "alert_on_decisions").cursor
    with expanded.connect("slow") as slow, slow.transaction():
        audit.record(slow, "rollback backfill", "phase 3")
        audit.record(rows, "promote internal_beta", "phase 4")
        cursor = tick(instance, "alert_on_decisions", cursor).cursor
        assert titles(hook) == ["Promote internal_beta"]
    cursor = tick(instance, "alert_on_decisions", cursor).cursor
    assert titles(hook) == ["Promote internal_beta", "Rollback backfill"]
    tick(instance, "alert_on_decisions", cursor)
    assert len(hook) == 2


def test_what_reached_nobody_is_told_again_and_what_reached_somebody_is_not(
    expanded: Database,
    rows: Connection,
    hook: list[dict[str, Any]],
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sensors = ("alert_on_failed_checks", "alert_on_decisions", "alert_on_failure_rate")
    cursors = {name: tick(instance, name).cursor for name in sensors}
    evaluated(instance, "broken")
    audit.record(rows, "rollback instant", "phase 4")
    rows.execute(
        "INSERT INTO knowledge_extraction_runs (status, message_ids, message_count, settings) "
        "SELECT 'failed', '[1]', 1, '{}' FROM generate_series(1, 60)"
    )
    with channel(500) as (bad, tried), channel() as (good, got):
        for name in sensors:
            monkeypatch.setenv("KNOWLEDGE_MIGRATION_ALERT_URLS", json.dumps([bad]))
            missed = tick(instance, name, cursors[name])
            assert missed.cursor == cursors[name], name
            assert "No channel was reached" in missed.skip_message
            monkeypatch.setenv("KNOWLEDGE_MIGRATION_ALERT_URLS", json.dumps([bad, good]))
            found = tick(instance, name, missed.cursor)
            assert "Not delivered: json channel" in found.skip_message
            assert tick(instance, name, found.cursor).cursor == found.cursor
    assert titles(got) == ["A check failed", "Rollback instant", "Extractions fail"]
    assert len(tried) == 12  # each of six alerts twice


def test_without_the_database_failed_checks_are_told_and_the_others_say_so(
    expanded: Database, hook: list[dict[str, Any]], instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    cursors = {name: tick(instance, name).cursor for name in ("alert_on_failed_checks", "alert_on_decisions")}
    monkeypatch.setenv("KNOWLEDGE_MIGRATION_DATABASE_URL", "postgresql://nobody@127.0.0.1:9/nothing")
    evaluated(instance, "the database is away", passed=False)
    tick(instance, "alert_on_failed_checks", cursors["alert_on_failed_checks"])
    assert titles(hook) == ["A check failed"]
    found = tick(instance, "alert_on_decisions", cursors["alert_on_decisions"])
    assert "The audit log cannot be read" in found.skip_message
    assert found.cursor == cursors["alert_on_decisions"]
    assert "The extractions cannot be counted" in tick(instance, "alert_on_failure_rate").skip_message


def test_before_phase_1_the_sensors_say_so(
    database: Database, hook: list[dict[str, Any]], instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KNOWLEDGE_MIGRATION_DATABASE_URL", database.url)
    for name in ("alert_on_decisions", "alert_on_failure_rate"):
        assert tick(instance, name).skip_message == BEFORE_PHASE_1
    assert hook == []
