"""Databases after phase 1 with people and messages, or with topics and atoms; and a service that works on one."""

from collections.abc import Iterator

import pytest

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration_tests.engine.backfill.backfilling import fill
from knowledge_migration_tests.serving import PEOPLE_AND_MESSAGES, serving


@pytest.fixture
def peopled(expanded: Database) -> Database:
    """After phase 1, with 20 users and 200 messages."""
    with expanded.connect("test") as connection:
        connection.execute(PEOPLE_AND_MESSAGES)
    return expanded


@pytest.fixture
def rows(peopled: Database) -> Iterator[Connection]:
    """A session that reads it."""
    with peopled.connect("test") as connection:
        yield connection


@pytest.fixture
def service(peopled: Database) -> Iterator[str]:
    """The address of a live service on it."""
    with serving(peopled) as url:
        yield url


@pytest.fixture
def session(expanded: Database) -> Iterator[Connection]:
    """A session on a database after phase 1, with topics and atoms."""
    fill(expanded)
    with expanded.connect("test") as connection:
        yield connection
