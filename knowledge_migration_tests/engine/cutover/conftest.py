"""A database after phase 1 with people and messages, and an extractor that says what a test tells it."""

from collections.abc import Iterator

import pytest

from knowledge_migration.engine.database import Connection, Database
from knowledge_migration.engine.dual_write.fence import FencePatience
from knowledge_migration_tests.serving import PEOPLE_AND_MESSAGES

BRIEF = FencePatience(seconds=0.5)
PATIENT = FencePatience(seconds=20.0)


@pytest.fixture
def peopled(expanded: Database) -> Database:
    """After phase 1, with 20 users and 200 messages."""
    with expanded.connect("test") as connection:
        connection.execute(PEOPLE_AND_MESSAGES)
    return expanded


@pytest.fixture
def rows(peopled: Database) -> Iterator[Connection]:
    """A session to look at what is there."""
    with peopled.connect("test") as connection:
        yield connection
