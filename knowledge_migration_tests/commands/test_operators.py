"""Commands of operators: the doctor, the promotion, and lists for programs."""

import json
import re
import signal
import socket
import subprocess
from contextlib import nullcontext
from io import StringIO
from pathlib import Path

import dagster as dg
import pytest
from rich.console import Console
from typer.testing import CliRunner

from knowledge_migration.commands.application import app
from knowledge_migration.commands.migrate import run_cutover, run_ui
from knowledge_migration.commands.service import promote_by_command
from knowledge_migration.commands.terminal import open_installation
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration_tests.engine.cutover.stages_reached import stand_at
from knowledge_migration_tests.support.environment import name_database

PROJECT = Path(__file__).parents[2]


def told(*words: str) -> tuple[int, str]:
    """The exit code and everything that the command says."""
    done = CliRunner().invoke(app, list(words))
    return done.exit_code, done.output + ("" if done.exception is None else str(done.exception))


@pytest.fixture
def named(expanded: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    """The settings name the test's database."""
    name_database(monkeypatch, expanded, tmp_path)
    monkeypatch.setenv("KNOWLEDGE_MIGRATION_DAGSTER_URL", expanded.sibling("postgres").url)  # only to connect
    return expanded


def test_the_doctor_names_what_is_missing(named: Database, rows: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    code, text = told("doctor", "--json")
    lines = {line["what"]: line for line in json.loads(text)}
    assert (code, {line["state"] for line in lines.values()}) == (0, {"ok"})
    assert "not encrypted, on this machine" in lines["database"]["message"]
    rows.execute("CREATE RULE lets_nothing_through AS ON UPDATE TO atoms DO INSTEAD NOTHING")
    code, text = told("doctor")
    assert (code, "DISABLE RULE" in text, "lets_nothing_through" in text) == (1, True, True)
    monkeypatch.setenv("KNOWLEDGE_MIGRATION_DATABASE_URL", "postgresql://nobody:secret@127.0.0.1:1/x")
    code, text = told("doctor")
    assert (code, "Cannot connect to postgresql://nobody" in text, "secret" in text) == (1, True, False)


def test_only_the_next_stage_is_promoted_and_only_with_its_requirements(named: Database) -> None:
    stand_at(named, "dual_write")
    code, text = told("cutover", "promote", "gradual_rollout", "--yes")
    assert (code, "the next stage is internal_beta. Nothing was changed" in text) == (1, True)
    code, text = told("cutover", "promote", "internal_beta", "--yes")
    assert (code, "requirements of internal_beta are missing. Nothing was changed" in text) == (1, True)
    code, text = told("cutover", "status", "--json")
    listed = json.loads(text)
    assert (listed["next_stage"], {one["met"] for one in listed["requirements"]}) == ("internal_beta", {True, False})


def test_a_paused_rollout_is_promoted_by_nobody_until_it_is_resumed(named: Database) -> None:
    stand_at(named, "dual_write")

    def requirement() -> bool:
        listed = json.loads(told("cutover", "status", "--json")[1])["requirements"]
        (paused,) = [one for one in listed if one["name"] == "not paused"]
        assert paused["essential"]  # no override
        return bool(paused["met"])

    assert requirement()
    assert told("cutover", "pause", "--reason", "an incident") == (0, "The rollout is paused: nothing is promoted.\n")
    assert "already" in told("cutover", "pause", "--reason", "again")[1]
    assert not requirement()
    assert told("cutover", "resume", "--reason", "it is over")[0] == 0
    assert requirement()


def test_the_promotion_is_the_run_of_the_job_with_its_guards(named: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_at(named, "dual_write")
    monkeypatch.setenv("DAGSTER_HOME", str(PROJECT))
    with dg.DagsterInstance.ephemeral() as instance:
        monkeypatch.setattr(dg.DagsterInstance, "get", lambda: nullcontext(instance))
        output = StringIO()
        assert not run_cutover(Console(file=output, width=200), open_installation(), "internal_beta", reason="why")
        (run,) = instance.get_runs()
    assert (run.job_name, run.tags["dagster/partition"]) == ("phase_4_cutover", "internal_beta")
    assert run.run_config["ops"] == {"cutover_stage": {"config": {"reason": "why"}}}
    assert "is refused" in output.getvalue()


def test_the_service_promotes_by_the_command_and_returns_why_it_is_refused(named: Database) -> None:
    stand_at(named, "dual_write")

    refusal = promote_by_command("internal_beta", "admin on the page, user 3", "--why")
    assert refusal
    assert re.search("[0-9]+ requirements of internal_beta are missing. Nothing was changed", refusal)
    assert "│" not in refusal


def test_a_running_ui_is_announced_and_the_setting_has_precedence(
    named: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation = open_installation()
    assert installation.dagster_ui is None
    seen: list[str | None] = []

    class Process:
        """Dagster, which ends at once."""

        def __init__(self, command: list[str]) -> None:
            assert "dev" in command

        def wait(self) -> int:
            """What the service sees meanwhile."""
            seen.append(installation.dagster_ui)
            return 0

    monkeypatch.setattr(subprocess, "Popen", Process)
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # the handlers of the test process stay
    assert run_ui(Console(file=StringIO()), tmp_path, 3_456, installation.announced_ui) == 0
    assert seen == ["http://127.0.0.1:3456"]
    assert installation.dagster_ui is None
    monkeypatch.setenv("KNOWLEDGE_MIGRATION_DAGSTER_UI_URL", "https://dagster.example")
    assert open_installation().dagster_ui == "https://dagster.example"


def test_the_audit_log_names_the_operator_of_the_settings(
    named: Database, rows: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("ada@example.com", "true"), ("", "false")):
        monkeypatch.setenv("KNOWLEDGE_MIGRATION_OPERATOR", name)
        assert told("flags", "set", f"dual_write={value}", "--reason", "why")[0] == 0
    actors = [row["actor"] for row in rows.execute("SELECT actor FROM migration.audit_log ORDER BY id DESC LIMIT 2")]
    assert actors[1] == "ada@example.com"
    assert actors[0].endswith(f"@{socket.gethostname()}")


@pytest.mark.usefixtures("named")
@pytest.mark.parametrize(
    "words",
    [
        "flags history",
        "cutover gates",
        "quarantine list",
        "cleanup indexes",
        "settings",
        "flags show",
        "backfill status",
    ],
)
def test_a_list_is_json_for_a_program(words: str) -> None:
    code, text = told(*words.split(), "--json")
    assert (code, isinstance(json.loads(text), list | dict)) == (0, True)


@pytest.mark.usefixtures("named")
@pytest.mark.parametrize("changed", [{}, {"queue_depth": {"threshold": 5.0, "passes_in_a_row": 2}}])
def test_the_gates_are_listed_as_they_can_be_set(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, dict[str, float]]
) -> None:
    monkeypatch.setenv("CUTOVER_GATES", json.dumps(changed))
    _, text = told("settings", "--json")
    (gates,) = (row["value"] for row in json.loads(text) if row["variable"] == "CUTOVER_GATES")
    assert json.loads(gates) == changed


@pytest.mark.usefixtures("named")
def test_a_busy_port_is_told_before_any_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, text = told("serve", "--port", str(taken.getsockname()[1]))
    assert (code, "--port 0 takes a free one" in text, "/review" in text) == (1, True, False)


def test_the_version_is_printed() -> None:
    assert told("--version")[1].startswith("knowledge-migration 0.")
