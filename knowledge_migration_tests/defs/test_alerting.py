"""Alerts reach a real channel once, whatever fails reaches nobody else, and no secret is told."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from knowledge_migration.definitions import build_defs
from knowledge_migration.defs.resources import Migration
from knowledge_migration.engine.alerts import AlertChannelError, Alerts
from knowledge_migration.engine.cutover.rollback import roll_back
from knowledge_migration.engine.database import Connection, Database
from knowledge_migration.engine.dual_write.fence import FencePatience
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.migrate import QUIET
from knowledge_migration.settings import SettingsError, current_settings, load_settings
from knowledge_migration_tests.engine.cutover.standing import set_, stand_at


@contextmanager
def channel(status: int = 200, hold: threading.Event | None = None) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A webhook on a loopback port: its URL for apprise, and what it has got."""
    got: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            if hold:
                hold.wait(30)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing on the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"json://127.0.0.1:{server.server_port}/hook", got
    finally:
        if hold:
            hold.set()
        server.shutdown()
        server.server_close()


def titles(got: list[dict[str, Any]]) -> list[str]:
    return [one["title"] for one in got]


@pytest.fixture
def hook(expanded: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """The settings name the test's database and one channel."""
    with channel() as (url, got):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("KNOWLEDGE_MIGRATION_DATABASE_URL", expanded.url)
        monkeypatch.setenv("KNOWLEDGE_MIGRATION_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("KNOWLEDGE_MIGRATION_ALERT_URLS", json.dumps([url]))
        current_settings.cache_clear()
        yield got
    current_settings.cache_clear()


@pytest.fixture
def rows(expanded: Database) -> Iterator[Connection]:
    with expanded.connect("test") as connection:
        yield connection


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def tick(instance: dg.DagsterInstance, name: str, cursor: str | None = None) -> Any:
    definitions = build_defs()
    repository = definitions.get_repository_def()
    context = dg.build_sensor_context(
        instance=instance,
        repository_def=repository,
        sensor_name=name,
        cursor=cursor,
        resources={"migration": Migration()},
    )
    return repository.get_sensor_def(name).evaluate_tick(context)


def test_every_channel_gets_the_message_and_a_bad_one_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    with channel() as (good, got), channel(status=500) as (bad, _):
        failures = Alerts((bad + "?+token=a-secret", "nonsense", good)).send("A title", "words", kind="failure")
    assert titles(got) == ["A title"]
    assert got[0]["message"] == "words"
    assert {failure.reason for failure in failures} == {"its address cannot be used", "it refused the message"}
    assert "a-secret" not in caplog.text + repr(failures) + repr(Alerts((bad + "?+token=a-secret",)))


def test_a_channel_that_hangs_holds_nobody_up() -> None:
    hold = threading.Event()
    with channel(hold=hold) as (slow, _), channel() as (good, got):
        failures = Alerts((slow, good), seconds=0.2).send("A title", "words")
    assert titles(got) == ["A title"]
    assert len(failures) == 1


def test_an_address_that_cannot_be_used_is_named_by_its_place_only() -> None:
    with pytest.raises(AlertChannelError, match="at place 2") as error:
        Alerts(("json://127.0.0.1:1", "unheard://secret")).refuse_unusable()
    assert "secret" not in str(error.value)


def test_what_is_no_list_is_refused_at_start() -> None:
    with pytest.raises(SettingsError, match="KNOWLEDGE_MIGRATION_ALERT_URLS"):
        load_settings(knowledge_migration_alert_urls="mailto://me")


def test_without_a_channel_every_sensor_says_so(
    expanded: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instance: dg.DagsterInstance
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KNOWLEDGE_MIGRATION_DATABASE_URL", expanded.url)
    current_settings.cache_clear()
    for name in ("alert_on_failed_checks", "alert_on_decisions", "alert_on_failure_rate"):
        assert "No channel is configured" in tick(instance, name).skip_message
    current_settings.cache_clear()


def test_ways_back_and_overrides_are_told_once_each_from_now_on(
    expanded: Database, rows: Connection, hook: list[dict[str, Any]], instance: dg.DagsterInstance
) -> None:
    stand_at(expanded, "gradual_rollout")
    roll_back(expanded, Flags(), FencePatience(seconds=5), "partial", reason="of the past")
    cursor = tick(instance, "alert_on_decisions").cursor
    set_(expanded, cutover_percentage=50)
    roll_back(expanded, Flags(), FencePatience(seconds=5), "instant", reason="errors", actor="rollback guard")
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
    assert "Told within the last hour" in tick(instance, "alert_on_failure_rate", first.cursor).skip_message
    tick(instance, "alert_on_failure_rate", json.dumps({"at": 0.0}))  # an hour later it still lasts
    assert len(hook) == 2


def test_a_failed_check_is_told_once_and_a_warning_is_not(
    expanded: Database, rows: Connection, hook: list[dict[str, Any]], instance: dg.DagsterInstance
) -> None:
    job = build_defs().resolve_job_def("validation")
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
    definitions = build_defs()
    result = definitions.resolve_job_def("rollback_partial").execute_in_process(
        instance=instance,
        run_config={**QUIET, "ops": {"set_flags_partial": {"config": {"reason": "a test"}}}},
        raise_on_error=False,
    )
    assert not result.success
    sensor = definitions.get_repository_def().get_sensor_def("alert_on_failed_runs")
    context = dg.build_run_status_sensor_context(
        sensor_name="alert_on_failed_runs",
        dagster_instance=instance,
        dagster_run=result.dagster_run,
        dagster_event=result.get_run_failure_event(),
        resources={"migration": Migration()},
    ).for_run_failure()
    sensor(context)
    assert titles(hook) == ["Failed: rollback_partial"]
    assert "set_flags_partial: Proposals are off already" in hook[0]["message"]
    assert result.run_id in hook[0]["message"]
