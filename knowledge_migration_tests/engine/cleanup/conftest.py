"""A database at full cutover with people and messages."""

from collections.abc import Iterator

import pytest

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration_tests.conftest import EXPANDED_TEMPLATE, clone, cloned
from knowledge_migration_tests.engine.cleanup.retiring import FULL, change
from knowledge_migration_tests.serving import PEOPLE_AND_MESSAGES


@pytest.fixture(scope="session")
def full_template(server: EmbeddedServer) -> Database:
    """After phase 1, with 20 users and 200 messages, at full cutover."""
    database = clone(server, EXPANDED_TEMPLATE)
    with database.connect("test template") as connection:
        connection.execute(PEOPLE_AND_MESSAGES)
    change(database, FULL)
    return database


@pytest.fixture
def full(server: EmbeddedServer, full_template: Database) -> Iterator[Database]:
    """A copy of it, at full cutover since the worker made the template."""
    with cloned(server, full_template.name) as copy:
        yield copy


@pytest.fixture
def rows(full: Database) -> Iterator[Connection]:
    """A session to look at what is there."""
    with full.connect("test") as connection:
        yield connection
