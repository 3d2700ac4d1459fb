"""A database that meets every requirement of the internal beta, made once per worker."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration_tests.conftest import EXPANDED_TEMPLATE, clone, cloned
from knowledge_migration_tests.engine.cutover.ready import made_ready, seen_well
from knowledge_migration_tests.engine.cutover.stages_reached import now


@pytest.fixture(scope="session")
def ready_template(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Database, datetime]:
    """Phases 0 to 3 are complete; at the returned time, two hours later, every requirement is met."""
    database = clone(server, EXPANDED_TEMPLATE)
    at = now() + timedelta(hours=2)
    with database.connect("test template") as connection:
        made_ready(database, connection, tmp_path_factory.mktemp("backup"))
        seen_well(connection, database, at)
    return database, at


@pytest.fixture
def ready_database(server: EmbeddedServer, ready_template: tuple[Database, datetime]) -> Iterator[Database]:
    """A copy of it."""
    with cloned(server, ready_template[0].name) as copy:
        yield copy
