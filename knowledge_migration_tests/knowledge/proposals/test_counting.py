"""How many proposals a list has: what its pages would show, or nothing where counting takes too long."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.knowledge.proposals.listing import Wanted, count_proposals, list_proposals
from knowledge_migration_tests.conftest import EXPANDED_TEMPLATE, clone, drop
from knowledge_migration_tests.knowledge.proposals.listed import DAY, ROWS, RUN_2
from knowledge_migration_tests.knowledge.proposals.reviewing import propose


@pytest.fixture(scope="module")
def listed(server: EmbeddedServer) -> Iterator[sa.Connection]:
    """A hundred proposals, read only."""
    database = clone(server, EXPANDED_TEMPLATE)
    with database.connect("test") as session:
        session.execute(ROWS)
    with (
        database.engine() as engine,
        engine.execution_options(isolation_level="READ COMMITTED").connect() as connection,
    ):
        yield connection
    drop(server, database)


def optional(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    wanted=st.builds(
        Wanted,
        kinds=st.sampled_from([("topic",), ("atom",), ("topic", "atom")]),
        statuses=st.sampled_from(
            [("pending",), ("approved", "rejected"), ("pending", "approved", "rejected"), ("merged",)]
        ),
        sort=st.sampled_from(["confidence", "created_at"]),
        min_confidence=optional(st.floats(0, 1)),
        max_confidence=optional(st.floats(0, 1)),
        min_similarity=optional(st.floats(0, 1)),
        run_id=optional(st.sampled_from([RUN_2, UUID(int=0)])),
        created_after=optional(st.just(DAY)),
        created_before=optional(st.just(DAY)),
        text=optional(st.sampled_from(["t", "A1", "2", "%", "", "\x00"])),
        similar=optional(st.booleans()),
    )
)
def test_the_count_is_what_all_pages_show(listed: sa.Connection, wanted: Wanted) -> None:
    items = list_proposals(listed, wanted, 200).items
    shown = {kind: sum(item["entity_type"] == kind for item in items) for kind in wanted.kinds}
    assert count_proposals(listed, wanted) == shown


@pytest.fixture
def slow(rows: Connection) -> None:
    """Counting atoms sleeps for each row, counting topics does not."""
    rows.execute(
        "ALTER TABLE atom_proposals RENAME TO stored; "
        "CREATE VIEW atom_proposals AS SELECT * FROM stored WHERE pg_sleep(5) IS NOT NULL"
    )


def test_a_count_that_takes_too_long_is_given_up_and_the_transaction_goes_on(
    peopled: Database, rows: Connection, sql: sa.Connection, request: pytest.FixtureRequest
) -> None:
    propose(peopled)
    request.getfixturevalue("slow")
    sql.exec_driver_sql("SET LOCAL statement_timeout = '7s'; UPDATE users SET first_name = 'changed' WHERE id = 1")
    assert count_proposals(sql, Wanted(kinds=("atom", "topic")), timeout_ms=100) == {"atom": None, "topic": 1}
    assert sql.exec_driver_sql("SHOW statement_timeout").scalar_one() == "7s"
    assert sql.exec_driver_sql("SELECT first_name FROM users WHERE id = 1").scalar_one() == "changed"
    sql.commit()
    assert rows.execute("SELECT count(*) AS n FROM users WHERE first_name = 'changed'").fetchone() == {"n": 1}


def test_the_timeout_of_the_caller_is_as_before_where_the_count_was_quick(sql: sa.Connection) -> None:
    sql.exec_driver_sql("SET LOCAL statement_timeout = '7s'")
    assert count_proposals(sql, Wanted()) == {"topic": 0, "atom": 0}
    assert sql.exec_driver_sql("SHOW statement_timeout").scalar_one() == "7s"


def test_an_error_of_another_kind_is_not_taken_for_a_slow_count(rows: Connection, sql: sa.Connection) -> None:
    rows.execute("ALTER TABLE atom_proposals RENAME TO elsewhere")
    with pytest.raises(sa.exc.ProgrammingError, match="atom_proposals"):
        count_proposals(sql, Wanted())
    assert sql.exec_driver_sql("SELECT 1").scalar_one() == 1
