"""A database with the capture, and a session of an application on it."""

from collections.abc import Iterator

import pytest

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration_tests.engine.dual_write.capturing import application, install


@pytest.fixture
def captured(any_expanded: Database) -> Database:
    """Each supported version after phase 1, with the capture."""
    install(any_expanded)
    return any_expanded


@pytest.fixture
def writer(captured: Database) -> Iterator[Connection]:
    """A session of an application."""
    with application(captured) as connection:
        yield connection
