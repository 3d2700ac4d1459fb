"""The sensors tick by tick on a real instance, and the job that they start: promotion, breach, restart, two daemons."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from knowledge_migration.commands.phase_runs import QUIET
from knowledge_migration.defs.resources import Migration
from knowledge_migration.defs.scheduling import BEFORE_PHASE_1
from knowledge_migration.engine.cutover.readiness import readiness
from knowledge_migration.engine.cutover.state import read_cutover_state
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.validation.integrity import recorded_integrity
from knowledge_migration_tests.conftest import EXPANDED_TEMPLATE, cloned
from knowledge_migration_tests.engine.backfill.backfilling import count
from knowledge_migration_tests.engine.cutover.ready import UNHURRIED
from knowledge_migration_tests.engine.cutover.stages_reached import (
    acknowledging,
    alive,
    later,
    measured,
    set_,
    stand_at,
)
from knowledge_migration_tests.support.code_location import definitions
from knowledge_migration_tests.support.environment import name_database


@pytest.fixture
def expanded(
    request: pytest.FixtureRequest, server: EmbeddedServer, ready_template: tuple[Database, datetime]
) -> Iterator[Database]:
    """A database after phase 1, or after phase 3 for a test that takes `ready`."""
    with cloned(server, ready_template[0].name if "ready" in request.fixturenames else EXPANDED_TEMPLATE) as copy:
        yield copy


@pytest.fixture
def named(expanded: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The settings name the test's database; the clock of the cutover is two hours ahead, and checks may be old."""
    name_database(monkeypatch, expanded, tmp_path)
    monkeypatch.setenv("CUTOVER_BAKE_MINUTES", '{"internal_beta": 60, "gradual_rollout": 60, "full_cutover": 60}')
    monkeypatch.setenv("CUTOVER_CHECK_MAX_AGE_MINUTES", "1000")
    few = {"minimum_sample": 3, "threshold": 0.9}  # three readings of each list are enough here
    calm = {metric: {"limit_seconds": seconds, **few} for metric, seconds in UNHURRIED.items()}
    monkeypatch.setenv("CUTOVER_GATES", json.dumps(calm))
    monkeypatch.setenv("KNOWLEDGE_PROPOSALS_ADMIN_USER_IDS", "[1, 2]")
    moment = later(hours=2)
    monkeypatch.setattr(Migration, "now", lambda self: moment)
    return monkeypatch


@pytest.fixture
def ready(ready_template: tuple[Database, datetime], named: pytest.MonkeyPatch) -> datetime:
    """Every requirement of the internal beta is met by the clock of the cutover."""
    at = ready_template[1]
    named.setattr(Migration, "now", lambda self: at)
    return at


def changed(patch: pytest.MonkeyPatch, **settings: str) -> None:
    for name, value in settings.items():
        patch.setenv(name, value)


def tick(instance: dg.DagsterInstance, name: str, cursor: str | None = None) -> Any:
    """One tick of a daemon that has just started."""
    location = definitions()
    sensor = location.get_repository_def().get_sensor_def(name)
    with dg.build_sensor_context(
        instance=instance,
        definitions=location,
        sensor_name=name,
        cursor=cursor,
        resources={"migration": Migration()},
    ) as context:
        return sensor.evaluate_tick(context)


def run(instance: dg.DagsterInstance, request: Any, **config: Any) -> dg.ExecuteInProcessResult:
    """What the daemon would launch."""
    ops = {"cutover_stage": {"config": config}} if config else {}
    job = definitions().resolve_job_def(request.job_name)
    return job.execute_in_process(
        instance=instance,
        partition_key=request.partition_key,
        run_config={**QUIET, "ops": ops},
        raise_on_error=False,
        tags=request.tags,
    )


def failure(result: dg.ExecuteInProcessResult) -> str:
    (event,) = [one for one in result.all_events if one.is_step_failure]
    failed = event.step_failure_data.user_failure_data
    return f"{failed.description} {failed.metadata['what_to_do'].value}"


def test_before_phase_1_every_sensor_says_so_and_does_nothing(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instance: dg.DagsterInstance
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KNOWLEDGE_MIGRATION_DATABASE_URL", database.url)
    for name in ("cutover_promotion", "rollback_guard", "backfill_stragglers", "auto_approval"):
        found = tick(instance, name)
        assert found.run_requests == [], name
        assert found.skip_message in (BEFORE_PHASE_1, "The backfill is not complete; it links every row itself.")


def test_the_tick_says_exactly_what_is_missing(
    expanded: Database, rows: Connection, ready: datetime, instance: dg.DagsterInstance
) -> None:
    rows.execute("DELETE FROM migration.evidence WHERE kind = 'rollback_drill'")
    rows.execute("DELETE FROM migration.writer_heartbeat")
    found = tick(instance, "cutover_promotion")
    assert found.run_requests == []
    assert "internal_beta is not ready; 2 of" in found.skip_message
    assert "1. live processes: 0 processes of the service are live." in found.skip_message
    assert "2. rollback drill:" in found.skip_message


def test_where_everything_holds_it_asks_for_the_operators_word(ready: datetime, instance: dg.DagsterInstance) -> None:
    found = tick(instance, "cutover_promotion")
    assert found.run_requests == []
    assert found.skip_message == (
        "All requirements of internal_beta are met. Launch phase_4_cutover with the partition internal_beta to promote."
    )


def test_the_ui_is_told_a_verdict_once(ready: datetime, instance: dg.DagsterInstance) -> None:
    first = tick(instance, "cutover_promotion")
    told = {event.check_name: event.passed for event in first.asset_events}
    assert told["api_error_rate"] is True
    assert told["review_seconds"] is False
    assert tick(instance, "cutover_promotion", cursor=first.cursor).asset_events == []


def test_automatic_promotion_starts_the_job_that_promotes(
    expanded: Database, rows: Connection, ready: datetime, named: pytest.MonkeyPatch, instance: dg.DagsterInstance
) -> None:
    changed(named, CUTOVER_AUTOMATIC_PROMOTION="true")
    (request,) = tick(instance, "cutover_promotion").run_requests
    assert (request.job_name, request.partition_key) == ("phase_4_cutover", "internal_beta")
    with acknowledging(expanded):
        assert run(instance, request).success
    assert read_cutover_state(expanded).state == "internal_beta"
    assert "gradual_rollout is not ready" in tick(instance, "cutover_promotion").skip_message


def test_two_daemons_and_a_restart_ask_for_the_same_run(
    ready: datetime, named: pytest.MonkeyPatch, instance: dg.DagsterInstance
) -> None:
    changed(named, CUTOVER_AUTOMATIC_PROMOTION="true")
    keys = [tick(instance, "cutover_promotion").run_requests[0].run_key for _ in range(3)]
    assert len(set(keys)) == 1


def test_a_stage_that_fails_is_tried_three_times(
    expanded: Database, rows: Connection, ready: datetime, named: pytest.MonkeyPatch, instance: dg.DagsterInstance
) -> None:
    changed(named, CUTOVER_AUTOMATIC_PROMOTION="true", DUAL_WRITE_FENCE_SECONDS="0.1")
    keys = []
    version = read_cutover_state(expanded).flags.version
    for _ in range(3):
        (request,) = tick(instance, "cutover_promotion").run_requests
        keys.append(request.run_key)
        rows.execute("UPDATE topics SET migrated_from_proposal_id = NULL, migration_timestamp = NULL WHERE id = 1")
        assert not run(instance, request).success
        rows.execute(
            "UPDATE topics SET migrated_from_proposal_id = migration.origin_proposal_id('topics', 1), "
            "migration_timestamp = now() WHERE id = 1"
        )
        rows.execute("DELETE FROM migration.check_record")  # here only the attempts are looked at
    assert read_cutover_state(expanded).flags.version == version
    assert [key.rpartition("-")[2] for key in keys] == ["1", "2", "3"]
    assert "failed 3 times" in tick(instance, "cutover_promotion").skip_message


def test_a_failed_integrity_check_stops_the_run_before_it_promotes(
    expanded: Database, rows: Connection, ready: datetime, named: pytest.MonkeyPatch, instance: dg.DagsterInstance
) -> None:
    changed(named, CUTOVER_AUTOMATIC_PROMOTION="true")
    (request,) = tick(instance, "cutover_promotion").run_requests
    rows.execute("UPDATE atoms SET migrated_from_proposal_id = NULL, migration_timestamp = NULL WHERE id = 7")
    result = run(instance, request)
    assert not result.success
    assert read_cutover_state(expanded).state == "dual_write"
    rows.execute(
        "UPDATE atoms SET migrated_from_proposal_id = migration.origin_proposal_id('atoms', 7), migration_timestamp = now() "
        "WHERE id = 7"
    )
    found = tick(instance, "cutover_promotion")
    assert found.run_requests == []
    assert "check backfill_completion.every_atom_has_a_proposal: it did not pass" in found.skip_message


def test_the_asset_alone_evaluates_every_rule_and_lists_all_that_is_missing(
    expanded: Database, rows: Connection, ready: datetime, instance: dg.DagsterInstance
) -> None:
    rows.execute("UPDATE atoms SET migrated_from_proposal_id = NULL, migration_timestamp = NULL WHERE id = 7")
    rows.execute("UPDATE topics SET description = 'altered past the application' WHERE id = 7")
    rows.execute("DELETE FROM migration.evidence WHERE kind = 'rollback_drill'")
    measured(rows, "GET /topics", errors=500, at=ready)
    assets = [one for one in definitions().assets or [] if isinstance(one, dg.AssetsDefinition)]
    (stage,) = [one for one in assets if dg.AssetKey("cutover_stage") in one.keys]
    result = dg.materialize(
        [stage],
        instance=instance,
        resources={"migration": Migration()},
        partition_key="internal_beta",
        raise_on_error=False,
    )
    assert not result.success
    missing = {
        "check backfill_completion.every_atom_has_a_proposal": "Remove the cause. Run the job validation_integrity.",
        "check backfill_completion.no_approved_atom_proposal_is_orphaned": "Remove the cause. Run the job validation_integrity.",
        "check legacy_fingerprint.legacy_rows_equal_the_fingerprint": "Remove the cause. Run the job validation_integrity.",
        "gate api_error_rate": "Find the cause",
        "rollback drill": "Materialize asset rollback_drill",
    }
    total = len(
        readiness(expanded, Migration().settings, "internal_beta", recorded_integrity(expanded), now=ready).requirements
    )
    (step,) = [event for event in result.all_events if event.is_step_failure]
    described = step.step_failure_data.user_failure_data
    assert described.description == (
        f"cutover_stage is refused: {len(missing)} of {total} requirements are missing. Nothing was changed."
    )
    table = {row.data["requirement"]: row.data for row in described.metadata["missing"].records}
    assert table.keys() == missing.keys()
    for name, remedy in missing.items():
        assert table[name]["how to get it"].startswith(remedy)
        assert table[name]["observed"]
        assert table[name]["needed"]
    (check,) = result.get_asset_check_evaluations()
    assert (check.check_name, check.passed) == ("requirements_are_met", False)
    assert read_cutover_state(expanded).state == "dual_write"


def test_an_override_in_the_launchpad_promotes_and_is_audited(
    expanded: Database, rows: Connection, ready: datetime, instance: dg.DagsterInstance
) -> None:
    rows.execute("DELETE FROM migration.evidence WHERE kind = 'rollback_drill'")
    request = dg.RunRequest(job_name="phase_4_cutover", partition_key="internal_beta")
    refused = run(instance, request)
    assert "rollback drill" in failure(refused)
    with acknowledging(expanded):
        assert run(instance, request, override_reason="drilled on staging").success
    entry = (
        "SELECT count(*) FROM migration.audit_log WHERE action = 'override promotion' AND dagster_run_id IS NOT NULL"
    )
    assert count(rows, entry) == 1


def test_the_guard_goes_back_within_its_tick_and_then_rests(
    expanded: Database, rows: Connection, named: pytest.MonkeyPatch, instance: dg.DagsterInstance
) -> None:
    stand_at(expanded, "gradual_rollout")
    measured(rows, "extraction", "proposal", answered=70, errors=30, at=Migration().now())
    found = tick(instance, "rollback_guard")
    assert "Rolled back (instant)" in found.skip_message
    assert read_cutover_state(expanded).state == "dual_write"
    assert "nothing to roll back" in tick(instance, "rollback_guard").skip_message
    assert count(rows, "SELECT count(*) FROM migration.audit_log WHERE action = 'rollback instant'") == 1


def test_after_a_way_back_the_first_stage_has_to_be_proven_again(
    expanded: Database, rows: Connection, ready: datetime, instance: dg.DagsterInstance
) -> None:
    stand_at(expanded, "gradual_rollout")
    set_(expanded, enabled=False)
    alive(rows, expanded, "one")
    for table in ("service_measurement", "gate_evaluation"):  # all of that was measured before the rollback
        rows.execute(f"UPDATE migration.{table} SET at = at - interval '3 hours'")  # noqa: S608
    found = tick(instance, "cutover_promotion")
    assert "internal_beta is not ready" in found.skip_message
    assert "gate api_error_rate" in found.skip_message


def test_rows_that_an_old_writer_left_are_swept_once(
    expanded: Database, rows: Connection, ready: datetime, instance: dg.DagsterInstance
) -> None:
    assert "No row has been without a proposal" in tick(instance, "backfill_stragglers").skip_message
    rows.execute(
        "INSERT INTO topics (name, description, created_at) VALUES ('old', '', now() - interval '11 minutes'), "
        "('new', '', now())"
    )
    (first,), (second,) = (tick(instance, "backfill_stragglers").run_requests for _ in range(2))
    assert first.run_key == second.run_key
    assert first.run_key is not None
    assert first.run_key.endswith("x1")
    assert run(instance, dg.RunRequest(job_name="phase_3_completion")).success
    assert "No row has been" in tick(instance, "backfill_stragglers").skip_message
    assert count(rows, "SELECT count(*) FROM topics WHERE migrated_from_proposal_id IS NULL") == 0


def approve(instance: dg.DagsterInstance) -> None:
    """The run that the sensor requests."""
    (request,) = tick(instance, "auto_approval").run_requests
    assert run(instance, request).success


def test_what_becomes_eligible_is_approved_and_only_that(
    expanded: Database, rows: Connection, named: pytest.MonkeyPatch, instance: dg.DagsterInstance
) -> None:
    stand_at(expanded, "gradual_rollout")
    rows.execute(
        "WITH run AS (INSERT INTO knowledge_extraction_runs (status, message_ids, message_count) VALUES ('completed', '[]', 0) "
        "RETURNING id) INSERT INTO topic_proposals (extraction_run_id, name, description, confidence) "
        "SELECT run.id, name, '', confidence FROM run, (VALUES ('sure', 0.97), ('nearly', 0.92), ('unsure', 0.4)) "
        "AS wanted (name, confidence)"
    )
    approve(instance)
    assert {row["name"] for row in rows.execute("SELECT name FROM topics")} == {"sure"}
    set_(expanded, auto_approve_threshold=0.9)
    approve(instance)
    assert tick(instance, "auto_approval").skip_message == "No pending proposal may be approved without a reviewer."
    assert {row["name"] for row in rows.execute("SELECT name FROM topics")} == {"sure", "nearly"}
    set_(expanded, enabled=False)
    assert tick(instance, "auto_approval").skip_message == "Proposals are off."
