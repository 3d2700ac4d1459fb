"""Real servers for the tests: one embedded PostgreSQL per version and session, one database per test, cloned from a template."""

import gc
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import psycopg
import pytest
from psycopg import sql

from knowledge_migration.engine.foundation import embedded_server
from knowledge_migration.engine.foundation.database import Connection, Database, exists
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.engine.schema import upgrade as schema
from knowledge_migration.settings import SchemaChangeSettings

if TYPE_CHECKING:
    from dagster import DagsterInstance

LEGACY_TEMPLATE = "legacy_template"
EXPANDED_TEMPLATE = "expanded_template"
SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"

# No test simulates a crash of the machine. The operating system keeps what a killed server has written.
WITHOUT_DISK_SYNC = (
    "ALTER SYSTEM SET fsync = off",
    "ALTER SYSTEM SET full_page_writes = off",
    "SELECT pg_reload_conf()",
)

SHARED_MEMORY = Path("/dev/shm")
SHARED_MEMORY_NEEDED = 6 * 1024**3

_numbers = itertools.count(1)
_sessions: dict[EmbeddedServer, psycopg.Connection[Any]] = {}

# No test speaks TLS to a foreign host; to load the certificates of all authorities takes 20 ms per client.
os.environ.pop("SSL_CERT_FILE", None)
os.environ["SSL_CERT_DIR"] = str(Path(__file__).parent)

# What the collection of the tests imports is no garbage.
gc.disable()

# Hypothesis fails what is slow, unless it is told not to.
hypothesis.settings.register_profile(
    "at any speed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("at any speed")


def pytest_collection_finish() -> None:
    """What the collection has imported lives to the end: garbage collections that traverse it took 15 % of the CPU time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)
    gc.enable()


def _folder_of_servers() -> Path | None:
    """Shared memory where it has room: a database is made and dropped in 17 ms of CPU there, and in 150 ms on ext4."""
    has_room = SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free > SHARED_MEMORY_NEEDED
    return SHARED_MEMORY if has_room else None


@contextmanager
def started(version: int) -> Iterator[EmbeddedServer]:
    """A server with its templates, which ends with the block."""
    with tempfile.TemporaryDirectory(
        prefix=f"km{version}_", dir=_folder_of_servers(), ignore_cleanup_errors=True
    ) as folder:
        Path(folder).chmod(0o755)
        server = embedded_server.start(Path(folder) / "data", version=version, cleanup="delete")
        with server.admin.connect("tests") as connection:
            for statement in WITHOUT_DISK_SYNC:
                connection.execute(statement)
        template = server.ensure_database(LEGACY_TEMPLATE)
        with template.connect("test template") as connection:
            connection.execute(text_of("legacy/schema"))
        expanded = server.ensure_database(EXPANDED_TEMPLATE)
        with expanded.connect("test template") as connection:
            connection.execute(text_of("legacy/schema"))
        schema.upgrade(expanded, SchemaChangeSettings())
        try:
            yield server
        finally:
            if server in _sessions:
                _sessions.pop(server).close()


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedServer]:
    """PostgreSQL 18 with the legacy template."""
    with started(18) as running:
        yield running


@pytest.fixture(scope="session")
def server_16() -> Iterator[EmbeddedServer]:
    """PostgreSQL 16 with the legacy template."""
    with started(16) as running:
        yield running


@pytest.fixture(params=[18, 16], ids=["pg18", "pg16"])
def any_server(request: pytest.FixtureRequest) -> EmbeddedServer:
    """The server of each supported version."""
    return request.getfixturevalue("server" if request.param == 18 else "server_16")


def clone(server: EmbeddedServer, template: str = LEGACY_TEMPLATE, *, adopted: bool = True) -> Database:
    """A new database made from a template that nobody is connected to; files are copied, which writes no WAL.

    The evidence of the template becomes its own, if `adopted`.
    """
    name = f"test_{os.getpid()}_{next(_numbers)}"
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
    _administer(server, statement.format(sql.Identifier(name), sql.Identifier(template)))
    copy = server.database(name)
    if adopted and template not in (LEGACY_TEMPLATE, EXPANDED_TEMPLATE):
        adopt(copy)
    return copy


def adopt(database: Database) -> None:
    """Evidence, checks and verdicts of the template become those of its copy."""
    with database.connect("test template") as connection:
        for table in ("evidence", "check_record", "gate_evaluation"):
            if exists(connection, f"migration.{table}"):
                statement = sql.SQL("UPDATE {} SET database = migration.this_database()")
                connection.execute(statement.format(sql.Identifier("migration", table)))


def drop(server: EmbeddedServer, database: Database) -> None:
    """Drops a test's database, sessions included."""
    _administer(server, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database.name)))


def _administer(server: EmbeddedServer, statement: sql.Composed) -> None:
    """Executes a statement in a session that stays: two new ones per test took a third of the time of its database."""
    if server not in _sessions or _sessions[server].closed:
        _sessions[server] = psycopg.connect(**server.admin.connect_arguments("tests"), autocommit=True)
    try:
        _sessions[server].execute(statement)
    except psycopg.OperationalError:
        if not _sessions[server].closed:
            raise
        _administer(server, statement)  # the server was started again


@contextmanager
def cloned(server: EmbeddedServer, template: str = LEGACY_TEMPLATE, *, adopted: bool = True) -> Iterator[Database]:
    """A copy of a template that exists while the block runs."""
    copy = clone(server, template, adopted=adopted)
    try:
        yield copy
    finally:
        drop(server, copy)


@pytest.fixture
def database(server: EmbeddedServer) -> Iterator[Database]:
    """An empty legacy database on PostgreSQL 18."""
    with cloned(server) as copy:
        yield copy


@pytest.fixture
def any_database(any_server: EmbeddedServer) -> Iterator[Database]:
    """An empty legacy database on each supported version."""
    with cloned(any_server) as copy:
        yield copy


@pytest.fixture
def expanded(server: EmbeddedServer) -> Iterator[Database]:
    """An empty database after phase 1 on PostgreSQL 18."""
    with cloned(server, EXPANDED_TEMPLATE) as copy:
        yield copy


@pytest.fixture
def any_expanded(any_server: EmbeddedServer) -> Iterator[Database]:
    """An empty database after phase 1 on each supported version."""
    with cloned(any_server, EXPANDED_TEMPLATE) as copy:
        yield copy


@pytest.fixture(scope="session")
def ready_template(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Database, datetime]:
    """Phases 0 to 3 are complete; at the returned time, two hours later, the internal beta meets every requirement."""
    from knowledge_migration_tests.engine.cutover.ready import made_ready, seen_well

    database = clone(server, EXPANDED_TEMPLATE)
    at = database.now() + timedelta(hours=2)
    with database.connect("test template") as connection:
        made_ready(database, connection, tmp_path_factory.mktemp("backup"))
        seen_well(connection, database, at)
    return database, at


@pytest.fixture
def ready_database(server: EmbeddedServer, ready_template: tuple[Database, datetime]) -> Iterator[Database]:
    """A copy of it."""
    with cloned(server, ready_template[0].name) as copy:
        yield copy


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    """A session in autocommit on `database`."""
    with database.connect("test") as opened:
        yield opened


@pytest.fixture
def rows(expanded: Database) -> Iterator[Connection]:
    """A session in autocommit on the test's database after phase 1; a folder's conftest may take another database."""
    with expanded.connect("test") as opened:
        yield opened


@pytest.fixture
def instance() -> Iterator["DagsterInstance"]:
    """A Dagster instance of the test's own, in memory."""
    import dagster as dg

    with dg.DagsterInstance.ephemeral() as made:
        yield made
