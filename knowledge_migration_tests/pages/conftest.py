"""Services and browsers for the pages."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration_tests.chromium import opened_browser
from knowledge_migration_tests.conftest import EXPANDED_TEMPLATE, clone, drop
from knowledge_migration_tests.pages.living import TOKENS, Living, living


@contextmanager
def service_of_its_own(server: EmbeddedServer, home: Path) -> Iterator[Living]:
    """A service with tokens on a new database after phase 1."""
    cloned = clone(server, EXPANDED_TEMPLATE)
    with living(cloned, home, **TOKENS) as started:
        yield started
    drop(server, cloned)


@pytest.fixture(scope="package")
def pages_service(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Living]:
    """One service for all tests of the pages that do not set flags: its start takes 4 s of CPU."""
    with service_of_its_own(server, tmp_path_factory.mktemp("pages")) as started:
        yield started


@pytest.fixture(scope="module")
def module_service(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Living]:
    """One service for a module whose tests set flags."""
    with service_of_its_own(server, tmp_path_factory.mktemp("module")) as started:
        yield started


@pytest.fixture(scope="module")
def module_browser() -> Iterator[Browser]:
    """One browser per module: while it is open, no other test can run an event loop."""
    with opened_browser() as opened:
        yield opened


@pytest.fixture
def browser(module_browser: Browser) -> Iterator[Browser]:
    """The browser of the module; the pages of a test end with it."""
    yield module_browser
    for context in module_browser.contexts:
        context.close()
