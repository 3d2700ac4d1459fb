"""Extraction and review over HTTP, from a message to knowledge and back."""

from collections.abc import Iterator

import httpx
import pytest

from knowledge_migration.engine.database import Database
from knowledge_migration.knowledge.extraction.model import Extraction
from knowledge_migration_tests.knowledge.conftest import Told, atom, topic
from knowledge_migration_tests.serving import serving

FOUND = Extraction(topics=(topic("backups", 0.8), topic("weak", 0.3)), atoms=(atom("restore", "backups", 0.9),))


@pytest.fixture
def api(peopled: Database) -> Iterator[httpx.Client]:
    """A client of a live service."""
    with serving(peopled, Told(FOUND)) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield client


def problem(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    return str(answer.json()["detail"])


def test_an_extraction_in_dual_write_and_its_review(api: httpx.Client) -> None:
    change = {"flags": {"knowledge_proposals_dual_write": True}, "reason": "phase 2"}
    assert api.post("/api/v1/admin/config", json=change).json()["state"] == "dual_write"
    written = api.post("/api/v1/knowledge/extract", json={"message_ids": [1, 2, 3], "user_id": 1}).json()
    assert (written["mode"], len(written["topic_ids"]), len(written["topic_proposal_ids"])) == ("dual_write", 1, 2)
    (pending,) = api.get("/api/v1/knowledge/proposals").json()["items"]
    assert (pending["name"], pending["entity_id"]) == ("weak", None)
    decided = api.post(
        f"/api/v1/knowledge/proposals/{pending['id']}/approve", json={"user_id": 1, "notes": "yes"}
    ).json()
    assert (decided["status"], decided["changed"]) == ("approved", True)
    assert api.get(f"/api/v1/topics/{decided['entity_id']}").json()["name"] == "weak"
    assert "undo that first" in problem(api.post(f"/api/v1/knowledge/proposals/{pending['id']}/reject"), 409)
    bulk = {"action": "undo", "proposal_ids": [pending["id"], "00000000-0000-4000-8000-000000000000"]}
    answer = api.post("/api/v1/knowledge/proposals/bulk", json=bulk).json()
    assert [one["status"] for one in answer["decided"]] == ["withdrawn"]
    assert [one["status"] for one in answer["undecided"]] == [404]
    run = api.get(f"/api/v1/knowledge/runs/{written['run_id']}").json()
    assert (run["status"], run["topic_proposal_count"], run["atom_proposal_count"]) == ("completed", 2, 1)
