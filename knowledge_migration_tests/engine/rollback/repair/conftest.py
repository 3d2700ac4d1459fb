"""A database with rows in every shape of key, and the verified backup of it; each test gets a copy of both."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql
from psycopg.rows import tuple_row

from knowledge_migration.engine.backup.location import BackupFolder
from knowledge_migration.engine.foundation import fingerprint
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.foundation.fingerprint import Fingerprint
from knowledge_migration.engine.preparation.legacy_snapshot import take_legacy_snapshot
from knowledge_migration.engine.rollback.repair.backup_copy import COMPARISON
from knowledge_migration.engine.schema import upgrade as schema
from knowledge_migration.settings import SchemaChangeSettings
from knowledge_migration_tests.conftest import clone, cloned
from knowledge_migration_tests.engine.backup.legacy_rows import fill

OTHER_SHAPES = """
CREATE TABLE labels (code text PRIMARY KEY, topic_id bigint REFERENCES topics (id), words text);
INSERT INTO labels VALUES ('ä', 1, 'one'), ('b', 2, NULL), ('B', NULL, 'three');
CREATE TABLE visits (topic_id bigint REFERENCES topics (id), what text);
INSERT INTO visits VALUES (1, 'seen'), (1, 'seen'), (2, NULL), (2, '');
CREATE TABLE places (
    id uuid PRIMARY KEY, number integer NOT NULL, topic_id bigint REFERENCES topics (id), parent uuid REFERENCES places (id),
    twice integer GENERATED ALWAYS AS (number * 2) STORED, updated_at timestamp
);
INSERT INTO places (id, number, topic_id, updated_at)
VALUES ('00000000-0000-0000-0000-000000000001', 1, 1, '2026-01-01'), ('00000000-0000-0000-0000-000000000002', 2, 2, NULL);
CREATE TABLE counters (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, topic_id bigint REFERENCES topics (id), updated_at timestamptz
);
INSERT INTO counters (topic_id) VALUES (1), (2);
CREATE TABLE apart (id integer PRIMARY KEY, words text);
INSERT INTO apart VALUES (1, 'one'), (2, 'two');
SELECT setval(pg_get_serial_sequence(name, 'id'), 30000) FROM unnest(ARRAY['users', 'topics', 'atoms', 'messages']) AS name;
"""


def backed_up(server: EmbeddedServer, folder: Path) -> Database:
    """A database with rows, our own schema and a verified backup, for copies."""
    database = clone(server)
    with database.connect("test template") as connection:
        fill(connection)
        connection.execute(OTHER_SHAPES)
    schema.prepare_evidence(database, SchemaChangeSettings())
    take_legacy_snapshot(
        database,
        folder=BackupFolder(folder),
        scratch=server.admin,
        tools_directory=None,
        range_ids=10_000,
        progress=lambda _: None,
    )
    return database


@pytest.fixture(scope="session")
def backed_up_template(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Database:
    """On PostgreSQL 18."""
    return backed_up(server, tmp_path_factory.mktemp("backups"))


@pytest.fixture(scope="session")
def backed_up_template_16(server_16: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Database:
    """On PostgreSQL 16."""
    return backed_up(server_16, tmp_path_factory.mktemp("backups_16"))


@pytest.fixture
def live(server: EmbeddedServer, backed_up_template: Database) -> Iterator[Database]:
    """A copy of the database whose backup it is; no scratch database stays behind a test."""
    with cloned(server, backed_up_template.name) as copy:
        yield copy
    assert databases_like(server.admin, COMPARISON.prefix) == []


@pytest.fixture
def any_live(request: pytest.FixtureRequest, any_server: EmbeddedServer) -> Iterator[Database]:
    """A copy on each supported version."""
    with any_server.admin.connect() as admin:
        old = admin.info.server_version < 170000
    name = "backed_up_template_16" if old else "backed_up_template"
    with cloned(any_server, request.getfixturevalue(name).name) as copy:
        yield copy


@pytest.fixture
def rows(live: Database) -> Iterator[Connection]:
    """A session of the application."""
    with live.connect("application") as session:
        yield session


def databases_like(server: Database, prefix: str) -> list[str]:
    """The databases of a server whose names begin so."""
    with server.connect() as admin:
        found = admin.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [prefix])
        return sorted(row["datname"] for row in found)


def drop_databases_like(server: Database, prefix: str) -> list[str]:
    """Drops what a killed run left: the next run would, but not in its first minute. Returns the names."""
    found = databases_like(server, prefix)
    with server.connect() as admin:
        for name in found:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
    return found


def values(connection: Connection, query: str) -> list[tuple[Any, ...]]:
    """The rows of a query as tuples."""
    with connection.cursor(row_factory=tuple_row) as cursor:
        return cursor.execute(query).fetchall()


def taken(connection: Connection) -> Fingerprint:
    """The fingerprint of the legacy tables."""
    return fingerprint.take(connection)


def differing(connection: Connection, before: Fingerprint) -> list[str]:
    """The ranges of rows that differ from an earlier fingerprint."""
    differences = fingerprint.differences(before, fingerprint.take(connection, like=before))
    return [f"{difference.table} {difference.range}" for difference in differences]
