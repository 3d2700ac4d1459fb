"""A service on a database after phase 1, and what the page looks at there."""

import pytest

from knowledge_migration.engine.database import Database
from knowledge_migration.engine.overview.look import OverviewRules
from knowledge_migration.pages.migration.source import MigrationSource
from knowledge_migration.thresholds import BAKE_MINUTES, GATES
from knowledge_migration_tests.knowledge.conftest import make_service, peopled, rows

__all__ = ["make_service", "peopled", "rows"]

RULES = OverviewRules(
    gates=GATES,
    bake_minutes=BAKE_MINUTES,
    backup_max_age_hours=24,
    drill_max_age_days=7,
    verification_max_age_hours=36,
    stable_days=14,
    live_seconds=10,
    queue_limit=1_000,
    no_live_writers=False,
)


def source_of(database: Database) -> MigrationSource:
    """What the page looks at, without Dagster."""
    return MigrationSource(database, RULES, lambda: None)


@pytest.fixture
def source(peopled: Database) -> MigrationSource:
    """What the page looks at."""
    return source_of(peopled)
