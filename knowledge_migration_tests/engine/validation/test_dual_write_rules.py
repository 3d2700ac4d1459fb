"""The rules of dual write, each with one row that breaks it; the strategy's own query could not fail."""

from collections.abc import Iterator

import httpx
import pytest

from knowledge_migration.engine.dual_write import switch
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.validation import rules as integrity
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration_tests.conftest import EXPANDED_TEMPLATE, clone, cloned, drop
from knowledge_migration_tests.serving import PEOPLE_AND_MESSAGES, serving
from knowledge_migration_tests.support.fence_timeouts import PATIENT


@pytest.fixture(scope="module")
def template(server: EmbeddedServer) -> Iterator[Database]:
    """After some extractions and handmade rows in dual write."""
    database = clone(server, EXPANDED_TEMPLATE)
    with database.connect("test template") as connection:
        connection.execute(PEOPLE_AND_MESSAGES)
    with serving(database) as url, httpx.Client(base_url=f"{url}/api/v1", timeout=60) as client:
        switch.switch_on(database, Flags(), PATIENT, reason="a test")
        for first in range(1, 31, 3):
            body = {"message_ids": [first, first + 1, first + 2], "user_id": 1}
            answer = client.post("/knowledge/extract", json=body)
            assert (answer.status_code, answer.json()["mode"]) == (200, "dual_write")
        assert client.post("/topics", json={"name": "by hand", "description": ""}).status_code == 201
        atom = {"type": "insight", "title": "by hand", "content": "", "topic_ids": [1]}
        assert client.post("/atoms", json=atom).status_code == 201
    yield database
    drop(server, database)


@pytest.fixture
def dual_written(server: EmbeddedServer, template: Database) -> Iterator[Database]:
    """A copy of it."""
    with cloned(server, template.name) as copy:
        yield copy


@pytest.fixture
def written(dual_written: Database) -> Iterator[Connection]:
    """A session on the copy."""
    with dual_written.connect("test") as connection:
        yield connection


def broken(database: Database, connection: Connection) -> dict[str, int]:
    outcomes = integrity.dual_write_outcomes(database, connection, sample=5)
    return {outcome.name: outcome.count for outcome in outcomes if not outcome.passed}


def test_everything_holds_after_extractions_and_handmade_rows(dual_written: Database, written: Connection) -> None:
    assert broken(dual_written, written) == {}
    outcomes = {outcome.name: outcome for outcome in integrity.dual_write_outcomes(dual_written, written, sample=5)}
    assert outcomes["topic_proposal_values_equal_the_entity"].numbers["compared"] > 5


@pytest.mark.parametrize(
    ("damage", "rules"),
    [
        ("INSERT INTO topics (name, description) VALUES ('unshadowed', '')", {"every_new_topic_has_a_proposal": 1}),
        (
            "INSERT INTO atoms (type, title, content, user_approved) VALUES ('insight', 'unshadowed', '', false)",
            {"every_new_atom_has_a_proposal": 1},
        ),
        (
            "DELETE FROM topic_proposals WHERE id = (SELECT id FROM topic_proposals WHERE entity_id IS NULL LIMIT 1)",
            {"extractions_have_their_proposals": 1},
        ),
        (
            "INSERT INTO migration.shadow_failure (process, reason, content) VALUES ('p', 'why', '{}')",
            {"no_shadow_failed": 1},
        ),
    ],
)
def test_each_rule_finds_what_breaks_it(
    dual_written: Database, written: Connection, damage: str, rules: dict[str, int]
) -> None:
    written.execute(damage)
    assert broken(dual_written, written) == rules


def test_a_wrong_copy_is_found_and_a_later_edit_is_not_taken_for_one(
    dual_written: Database, written: Connection
) -> None:
    written.execute("UPDATE topics SET description = 'edited', updated_at = now() WHERE name = 'by hand'")
    assert broken(dual_written, written) == {}
    # row and proposal written by one transaction, with another value: what a wrong shadow would leave
    with written.transaction():
        written.execute("UPDATE topic_proposals SET description = 'wrong' WHERE name LIKE 'part-%' AND entity_id = 1")
        written.execute("UPDATE topics SET color = color WHERE id = 1")
    assert broken(dual_written, written) == {"topic_proposal_values_equal_the_entity": 1}


def test_rows_from_before_the_fence_are_not_judged(peopled: Database, rows: Connection, service: str) -> None:
    rows.execute("INSERT INTO topics (name, description) VALUES ('from before', '')")
    switch.switch_on(peopled, Flags(), PATIENT, reason="a test")
    assert broken(peopled, rows) == {}


def test_without_a_fence_there_is_nothing_to_look_at(peopled: Database, rows: Connection) -> None:
    with pytest.raises(PreconditionError, match="dual_write_mode"):
        integrity.dual_write_outcomes(peopled, rows, sample=5)
