"""The database of the example, as its own Alembic chain creates it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from knowledge_migration.addresses import parsed
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration_tests.conftest import cloned

PROJECT = Path(__file__).parents[2]
TEMPLATE = "tasktracker_template"


def url_of(database: Database) -> str:
    """The address that the application uses."""
    return parsed(database.url).set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)


def alembic(database: Database, *words: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Runs the application's Alembic."""
    command = [sys.executable, "-m", "alembic", "-c", str(PROJECT / "examples" / "tasktracker" / "alembic.ini"), *words]
    environment = {**os.environ, "TASKTRACKER_URL": url_of(database), **variables}
    return subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True, check=False)


@pytest.fixture
def tasktracker(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A database of the application without rows, on PostgreSQL 18, or on the version that a test names."""
    server: EmbeddedServer = request.getfixturevalue("server_16" if getattr(request, "param", 18) == 16 else "server")
    created = alembic(server.ensure_database(TEMPLATE), "upgrade", "head")  # does nothing the second time
    assert created.returncode == 0, created.stderr
    with cloned(server, TEMPLATE) as copy:
        yield copy


@pytest.fixture
def rows(tasktracker: Database) -> Iterator[Connection]:
    """A session in autocommit on it."""
    with tasktracker.connect("test") as connection:
        yield connection
