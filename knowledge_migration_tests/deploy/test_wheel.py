"""The built wheel, in an environment of its own and a directory without the checkout, migrates a configured database."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration_tests.conftest import clone, drop
from knowledge_migration_tests.engine.backfill.backfilling import count, fill
from knowledge_migration_tests.serving import PEOPLE_AND_MESSAGES
from knowledge_migration_tests.support.environment import ANY_SPEED

PROJECT = Path(__file__).parents[2]
EMPTY = {name: value for name, value in os.environ.items() if not name.startswith(("KNOWLEDGE_", "DAGSTER_", "PYTHON"))}


def run(*command: str, folder: Path, **variables: str) -> str:
    """The output of a command that must succeed."""
    done = subprocess.run(
        command, cwd=folder, env={**EMPTY, **variables}, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def installed(folder: Path) -> Path:
    """The programs of a new environment with the wheel, and with the dependencies of this one."""
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", os.fspath(folder), folder=PROJECT)
    (wheel,) = folder.glob("*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", "environment", folder=folder)
    programs = folder / "environment" / "bin"
    run(sys.executable, "-m", "pip", "--python", os.fspath(programs / "python"), "install", "--quiet", "--no-deps", "--no-index",
        os.fspath(wheel), folder=folder)  # fmt: skip
    packages = run(
        os.fspath(programs / "python"), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=folder
    )
    (Path(packages.strip()) / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return programs


@pytest.mark.long
def test_a_configured_database_is_migrated_and_rolled_back(
    server: EmbeddedServer, database: Database, tmp_path: Path
) -> None:
    fill(database)
    with database.connect("test") as connection:
        connection.execute(PEOPLE_AND_MESSAGES)
    for_dagster = clone(server)
    programs, folder = installed(tmp_path), tmp_path / "of the user"
    folder.mkdir()
    variables = {
        "KNOWLEDGE_MIGRATION_DATABASE_URL": database.url,
        "KNOWLEDGE_MIGRATION_DAGSTER_URL": for_dagster.url,
        "DUAL_WRITE_CAPTURE": "database",
        **ANY_SPEED,
        "MIGRATION_RATE_LIMIT_PER_SECOND": "0",
    }
    program = os.fspath(programs / "knowledge-migration")
    where = "import knowledge_migration; print(knowledge_migration.__file__)"
    assert os.fspath(tmp_path) in run(os.fspath(programs / "python"), "-c", where, folder=folder)
    try:
        run(program, "migrate", folder=folder, **variables)
        with database.connect("test") as connection:
            assert count(connection, "SELECT count(*) FROM atoms WHERE migrated_from_proposal_id IS NULL") == 0
        assert "already done" in run(program, "migrate", folder=folder, **variables)
        run(program, "rollback", "full", "--reason", "a test", "--yes", folder=folder, **variables)
        with database.connect("test") as connection:
            assert count(connection, "SELECT count(*) FROM pg_tables WHERE tablename = 'topic_proposals'") == 0
    finally:
        drop(server, for_dagster)
