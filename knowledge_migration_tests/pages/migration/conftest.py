"""A service on a database after phase 1, and what the page reads there."""

import pytest

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.pages.migration.feed import MigrationSource
from knowledge_migration.settings import Settings
from knowledge_migration_tests.knowledge.conftest import make_service, peopled, peopled_template, rows

__all__ = ["make_service", "peopled", "peopled_template", "rows"]

RULES = Settings()


def source_of(database: Database) -> MigrationSource:
    """What the page reads, without Dagster."""
    return MigrationSource(database, RULES)


@pytest.fixture
def source(peopled: Database) -> MigrationSource:
    """What the page reads."""
    return source_of(peopled)
