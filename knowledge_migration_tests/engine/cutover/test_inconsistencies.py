"""The metric of inconsistencies finds one row per kind of breach, and nothing that is as it should be."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from knowledge_migration.engine.cutover.evaluation import Evaluation, evaluate
from knowledge_migration.engine.cutover.state import read_cutover_state
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.knowledge.extraction.model import Extraction
from knowledge_migration_tests.conftest import EXPANDED_TEMPLATE, clone, cloned, drop
from knowledge_migration_tests.engine.cutover.stages_reached import gate, later, set_, stand_at
from knowledge_migration_tests.knowledge.conftest import FakeExtractor, atom, topic
from knowledge_migration_tests.serving import PEOPLE_AND_MESSAGES, serving

FOUND = Extraction(topics=(topic("sure", 0.97),), atoms=(atom("of it", "sure", 0.97),))


def judged(database: Database, seconds: float = 300) -> Evaluation:
    (found,) = evaluate(
        database, [gate("inconsistencies")], read_cutover_state(database), now=later(seconds=seconds), spacing_seconds=0
    )
    return found


def first(database: Database) -> list[str]:
    found = judged(database)
    assert found.verdict == "fail"
    violations: list[str] = found.measurement.detail["first"]
    return [one.rpartition(" ")[0] for one in violations]


@pytest.fixture(scope="module")
def template(server: EmbeddedServer) -> Iterator[Database]:
    """In full cutover, after extractions that were approved, one in dual write, one that waits, one by hand, one deleted."""
    database = clone(server, EXPANDED_TEMPLATE)
    with database.connect("test template") as connection:
        connection.execute(PEOPLE_AND_MESSAGES)
        stand_at(database, "gradual_rollout")
        with serving(database, FakeExtractor(FOUND)) as url:
            use(database, url)
        connection.execute(  # the setup is within the present state of the flags
            "UPDATE knowledge_extraction_runs SET created_at = created_at + interval '20 seconds';"
            "UPDATE topic_proposals SET created_at = created_at + interval '20 seconds';"
            "UPDATE atom_proposals SET created_at = created_at + interval '20 seconds';"
            "UPDATE topics SET created_at = created_at + interval '20 seconds';"
            "UPDATE atoms SET created_at = created_at + interval '20 seconds'"
        )
    yield database
    drop(server, database)


def use(database: Database, url: str) -> None:
    """The extractions and changes of users."""
    with httpx.Client(base_url=f"{url}/api/v1", timeout=60) as client:

        def extract(message: int) -> dict[str, Any]:
            body = {"message_ids": sorted({1, message}), "user_id": 1}
            return dict(client.post("/knowledge/extract", json=body).raise_for_status().json())

        set_(database, enabled=False)
        extract(1)
        stand_at(database, "gradual_rollout")
        set_(database, cutover_percentage=100)
        for message in (2, 3):
            assert extract(message)["mode"] == "proposal"
        for title in ("by hand", "gone"):
            atom = {"type": "insight", "title": title, "content": "c"}
            made = client.post("/atoms", json=atom).raise_for_status()
        client.delete(f"/atoms/{made.json()['id']}").raise_for_status()


@pytest.fixture
def used(server: EmbeddedServer, template: Database) -> Iterator[Database]:
    """A copy of it."""
    with cloned(server, template.name) as copy:
        yield copy


@pytest.fixture
def rows(used: Database) -> Iterator[Connection]:
    """A session on the copy."""
    with used.connect("test") as connection:
        yield connection


def test_what_is_as_it_should_be_is_consistent(used: Database) -> None:
    found = judged(used)
    assert (found.verdict, found.measurement.detail["first"]) == ("pass", [])
    assert found.measurement.sample >= 3


def test_a_row_without_a_proposal(used: Database, rows: Connection) -> None:
    rows.execute(
        "INSERT INTO topics (name, description, created_at) VALUES ('from a script', '', now() + interval '20 seconds');"
        "INSERT INTO atoms (type, title, content, user_approved, created_at) "
        "VALUES ('insight', 'from a script', '', false, now() + interval '20 seconds')"
    )
    assert first(used) == ["atom", "topic"]
    assert judged(used, seconds=60).verdict == "pass"  # for a minute it may be under way


def test_an_approved_proposal_whose_row_does_not_name_it(used: Database, rows: Connection) -> None:
    rows.execute(
        "UPDATE topic_proposals SET created_at = created_at + interval '1 second' "
        "WHERE id = (SELECT migrated_from_proposal_id FROM topics LIMIT 1)"
    )
    rows.execute("UPDATE topics SET migrated_from_proposal_id = NULL, created_at = created_at - interval '1 day'")
    assert first(used) == ["topic proposal"]


def test_an_approved_proposal_that_never_became_a_row(used: Database, rows: Connection) -> None:
    rows.execute(
        "UPDATE atom_proposals SET entity_id = NULL, similar_atom_id = NULL, similarity_type = NULL WHERE title = 'gone'"
    )
    assert first(used) == ["atom proposal"]


def test_an_extraction_with_fewer_proposals_than_it_recorded(used: Database, rows: Connection) -> None:
    rows.execute(
        "UPDATE knowledge_extraction_runs SET settings = jsonb_set(settings, '{topic_proposals}', '7') "
        "WHERE id = (SELECT id FROM knowledge_extraction_runs WHERE settings ->> 'mode' = 'proposal' LIMIT 1)"
    )
    assert first(used) == ["extraction"]
