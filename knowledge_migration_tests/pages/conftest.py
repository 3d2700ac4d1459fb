"""Databases and browsers for the pages."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration_tests.chromium import opened_browser
from knowledge_migration_tests.conftest import EXPANDED_TEMPLATE, clone, drop


@pytest.fixture(scope="module")
def module_database(server: EmbeddedServer) -> Iterator[Database]:
    """One database after phase 1 for a whole module whose tests do not interfere."""
    cloned = clone(server, EXPANDED_TEMPLATE)
    yield cloned
    drop(server, cloned)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser per module: while it is open, no other test can run an event loop."""
    with opened_browser() as opened:
        yield opened
