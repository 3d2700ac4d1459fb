"""A service on a database after phase 1, and what the page looks at there."""

from dataclasses import replace

import pytest

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.pages.migration.source import MigrationSource
from knowledge_migration_tests.engine.status.test_reader import RULES as LOOK_RULES
from knowledge_migration_tests.knowledge.conftest import make_service, peopled, rows

__all__ = ["make_service", "peopled", "rows"]

RULES = replace(LOOK_RULES, queue_limit=1_000)


def source_of(database: Database) -> MigrationSource:
    """What the page looks at, without Dagster."""
    return MigrationSource(database, RULES, lambda: None)


@pytest.fixture
def source(peopled: Database) -> MigrationSource:
    """What the page looks at."""
    return source_of(peopled)
