"""A database at full cutover with people and messages."""

from collections.abc import Iterator

import pytest

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration_tests.engine.cleanup.retiring import FULL, change
from knowledge_migration_tests.serving import PEOPLE_AND_MESSAGES


@pytest.fixture
def full(expanded: Database) -> Database:
    """After phase 1, with 20 users and 200 messages, at full cutover since now."""
    with expanded.connect("test") as connection:
        connection.execute(PEOPLE_AND_MESSAGES)
    change(expanded, FULL)
    return expanded


@pytest.fixture
def rows(full: Database) -> Iterator[Connection]:
    """A session to look at what is there."""
    with full.connect("test") as connection:
        yield connection
