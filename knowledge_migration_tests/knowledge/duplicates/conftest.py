"""A session of the application on an empty database after phase 1."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from knowledge_migration.engine.foundation.database import Database


@pytest.fixture
def engine(expanded: Database) -> Iterator[sa.Engine]:
    """An engine in autocommit; each connection is a session of its own."""
    with expanded.engine() as opened:
        yield opened


@pytest.fixture
def session(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One session."""
    with engine.connect() as opened:
        yield opened
