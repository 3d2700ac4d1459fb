"""The metric of inconsistencies finds one row per kind of breach, and nothing that is as it should be."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from knowledge_migration.engine.cutover.evaluation import Evaluation, evaluate
from knowledge_migration.engine.cutover.state import read_cutover_state
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.knowledge.extraction.model import Extraction
from knowledge_migration_tests.engine.cutover.stages_reached import gate, later, set_, stand_at
from knowledge_migration_tests.knowledge.conftest import FakeExtractor, atom, topic
from knowledge_migration_tests.serving import serving

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


@pytest.fixture
def service(peopled: Database, rows: Connection) -> Iterator[httpx.Client]:
    """In full cutover, after extractions that were approved, one in dual write, one that waits, one by hand, one deleted."""
    stand_at(peopled, "gradual_rollout")
    with serving(peopled, FakeExtractor(FOUND)) as url, httpx.Client(base_url=f"{url}/api/v1", timeout=60) as client:

        def extract(message: int) -> dict[str, Any]:
            body = {"message_ids": sorted({1, message}), "user_id": 1}
            return dict(client.post("/knowledge/extract", json=body).raise_for_status().json())

        set_(peopled, enabled=False)
        extract(1)
        stand_at(peopled, "gradual_rollout")
        set_(peopled, cutover_percentage=100)
        for message in (2, 3):
            assert extract(message)["mode"] == "proposal"
        made = client.post("/atoms", json={"type": "insight", "title": "by hand", "content": "c"}).raise_for_status()
        gone = client.post("/atoms", json={"type": "insight", "title": "gone", "content": "c"}).raise_for_status()
        client.delete(f"/atoms/{gone.json()['id']}").raise_for_status()
        assert made.json()["id"]
        rows.execute(  # the setup is within the present state of the flags
            "UPDATE knowledge_extraction_runs SET created_at = created_at + interval '20 seconds';"
            "UPDATE topic_proposals SET created_at = created_at + interval '20 seconds';"
            "UPDATE atom_proposals SET created_at = created_at + interval '20 seconds';"
            "UPDATE topics SET created_at = created_at + interval '20 seconds';"
            "UPDATE atoms SET created_at = created_at + interval '20 seconds'"
        )
        yield client


def test_what_is_as_it_should_be_is_consistent(peopled: Database, service: httpx.Client) -> None:
    found = judged(peopled)
    assert (found.verdict, found.measurement.detail["first"]) == ("pass", [])
    assert found.measurement.sample >= 3


def test_a_row_without_a_proposal(peopled: Database, rows: Connection, service: httpx.Client) -> None:
    rows.execute(
        "INSERT INTO topics (name, description, created_at) VALUES ('from a script', '', now() + interval '20 seconds');"
        "INSERT INTO atoms (type, title, content, user_approved, created_at) "
        "VALUES ('insight', 'from a script', '', false, now() + interval '20 seconds')"
    )
    assert first(peopled) == ["atom", "topic"]
    assert judged(peopled, seconds=60).verdict == "pass"  # for a minute it may be under way


def test_an_approved_proposal_whose_row_does_not_name_it(
    peopled: Database, rows: Connection, service: httpx.Client
) -> None:
    rows.execute(
        "UPDATE topic_proposals SET created_at = created_at + interval '1 second' "
        "WHERE id = (SELECT migrated_from_proposal_id FROM topics LIMIT 1)"
    )
    rows.execute("UPDATE topics SET migrated_from_proposal_id = NULL, created_at = created_at - interval '1 day'")
    assert first(peopled) == ["topic proposal"]


def test_an_approved_proposal_that_never_became_a_row(
    peopled: Database, rows: Connection, service: httpx.Client
) -> None:
    rows.execute(
        "UPDATE atom_proposals SET entity_id = NULL, similar_atom_id = NULL, similarity_type = NULL WHERE title = 'gone'"
    )
    assert first(peopled) == ["atom proposal"]


def test_an_extraction_with_fewer_proposals_than_it_recorded(
    peopled: Database, rows: Connection, service: httpx.Client
) -> None:
    rows.execute(
        "UPDATE knowledge_extraction_runs SET settings = jsonb_set(settings, '{topic_proposals}', '7') "
        "WHERE id = (SELECT id FROM knowledge_extraction_runs WHERE settings ->> 'mode' = 'proposal' LIMIT 1)"
    )
    assert first(peopled) == ["extraction"]
