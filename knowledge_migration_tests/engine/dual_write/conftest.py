"""A database after phase 1 with people and messages, and a service that works on it."""

from collections.abc import Iterator

import pytest

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.settings import FenceSettings
from knowledge_migration_tests.serving import PEOPLE_AND_MESSAGES, serving

BRIEF = FenceSettings(seconds=0.5)
PATIENT = FenceSettings(seconds=20.0)


@pytest.fixture
def peopled(expanded: Database) -> Database:
    """After phase 1, with 20 users and 200 messages."""
    with expanded.connect("test") as connection:
        connection.execute(PEOPLE_AND_MESSAGES)
    return expanded


@pytest.fixture
def rows(peopled: Database) -> Iterator[Connection]:
    """A session that reads the database."""
    with peopled.connect("test") as connection:
        yield connection


@pytest.fixture
def service(peopled: Database) -> Iterator[str]:
    """The address of a live service on it."""
    with serving(peopled) as url:
        yield url
