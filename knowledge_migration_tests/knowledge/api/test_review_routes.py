"""Extraction and review over HTTP, from a message to knowledge and back."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.knowledge.extraction.model import Extraction
from knowledge_migration_tests.knowledge.conftest import FakeExtractor, atom, topic
from knowledge_migration_tests.serving import serving

FOUND = Extraction(topics=(topic("backups", 0.8), topic("weak", 0.3)), atoms=(atom("restore", "backups", 0.9),))


@pytest.fixture
def api(peopled: Database) -> Iterator[httpx.Client]:
    """A client of a live service."""
    with serving(peopled, FakeExtractor(FOUND)) as url, httpx.Client(base_url=url, timeout=30) as client:
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
    assert [one["status"] for one in answer["decided"]] == ["pending"]
    assert [one["status"] for one in answer["undecided"]] == [404]
    run = api.get(f"/api/v1/knowledge/runs/{written['run_id']}").json()
    assert (run["status"], run["topic_proposal_count"], run["atom_proposal_count"]) == ("completed", 2, 1)


@pytest.fixture
def proposals(api: httpx.Client) -> dict[str, str]:
    """The ids of the proposals of one extraction: a pending topic and an atom of it."""
    change = {"flags": {"knowledge_proposals_enabled": True, "cutover_percentage": 100}, "reason": "phase 4"}
    answer = api.post("/api/v1/admin/config", json=change)
    assert answer.status_code == 200, answer.text
    api.post("/api/v1/knowledge/extract", json={"message_ids": [1, 2, 3], "user_id": 1})
    items = api.get("/api/v1/knowledge/proposals").json()["items"]
    return {one["name"] or one["title"]: f"/api/v1/knowledge/proposals/{one['id']}" for one in items}


def test_a_topic_is_corrected_and_approved_in_one_request(api: httpx.Client, proposals: dict[str, str]) -> None:
    proposal = proposals["weak"]
    proposed = api.get(proposal).json()
    changes = {"name": "Weak points", "description": "What may fail", "icon": None, "color": "#ff0000"}
    decided = api.post(f"{proposal}/approve", json={"user_id": 1, "changes": changes}).json()
    assert (decided["status"], decided["changed"]) == ("approved", True)
    topic_now = api.get(f"/api/v1/topics/{decided['entity_id']}").json()
    assert {name: topic_now[name] for name in changes} == changes
    assert {name: api.get(proposal).json()[name] for name in changes} == changes
    second = api.post(f"{proposal}/approve", json={"user_id": 2, "changes": {"name": "Too late"}}).json()
    assert second == {**decided, "changed": False}
    assert api.get(proposal).json()["reviewed_by_user_id"] == 1
    assert api.post(f"{proposal}/undo").json()["status"] == "pending"
    assert {name: api.get(proposal).json()[name] for name in changes} == {name: proposed[name] for name in changes}


def test_an_atom_is_corrected_and_approved_in_one_request(api: httpx.Client, proposals: dict[str, str]) -> None:
    changes = {"type": "decision", "title": "Restore weekly", "content": "On Mondays", "meta": {"by": "hand"}}
    decided = api.post(f"{proposals['restore']}/approve", json={"changes": changes}).json()
    atom_now = api.get(f"/api/v1/atoms/{decided['entity_id']}").json()
    assert {name: atom_now[name] for name in changes} == changes
    assert (atom_now["confidence"], atom_now["user_approved"]) == (0.9, True)


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        (
            "weak",
            {"title": "x"},
            "title: this cannot be corrected of a topic proposal; name, description, icon, color can.",
        ),
        (
            "restore",
            {"color": None},
            "color: this cannot be corrected of an atom proposal; type, title, content, meta can.",
        ),
        ("restore", {"confidence": 1.0}, "body.changes.confidence: Extra inputs are not permitted"),
        ("weak", {"name": "  "}, "body.changes.name: String should have at least 1 character"),
        ("restore", {"type": "rumour"}, "body.changes.type: Input should be 'problem', 'solution', 'decision', "),
        ("weak", {"description": "a\x00b"}, "body.changes.description: Value error, must not hold a NUL character"),
        ("weak", ["name"], "body.changes: Input should be a valid dictionary"),
    ],
)
def test_an_invalid_correction_is_refused_by_name_and_the_proposal_stays_pending(
    api: httpx.Client, proposals: dict[str, str], name: str, changes: Any, words: str
) -> None:
    before = api.get(proposals[name]).json()
    assert problem(api.post(f"{proposals[name]}/approve", json={"changes": changes}), 422).startswith(words)
    assert api.get(proposals[name]).json() == before


@pytest.mark.parametrize("body", [None, {}, {"changes": None}, {"changes": {}}, {"changes": {"name": "weak"}}])
def test_an_approval_without_corrections_approves_the_proposed_values(
    api: httpx.Client, proposals: dict[str, str], body: Any
) -> None:
    decided = api.post(f"{proposals['weak']}/approve", json=body).json()
    assert decided["changed"]
    assert api.get(f"/api/v1/topics/{decided['entity_id']}").json()["name"] == "weak"


def test_proposals_are_searched_and_the_decisions_about_them_read(api: httpx.Client) -> None:
    flags = {"knowledge_proposals_enabled": True, "knowledge_proposals_cutover_percentage": 100}
    change = {"flags": flags, "reason": "phase 4"}
    assert api.post("/api/v1/admin/config", json=change).status_code == 200
    api.post("/api/v1/knowledge/extract", json={"message_ids": [1, 2, 3], "user_id": 1})
    proposals = "/api/v1/knowledge/proposals"
    assert [one["name"] for one in api.get(proposals, params={"text": "ABOUT WEA"}).json()["items"]] == ["weak"]
    assert len(api.get(proposals, params={"similar": False}).json()["items"]) == 3
    assert api.get(proposals, params={"similar": True}).json() == {"items": [], "next_cursor": None}
    problem(api.get(proposals, params={"text": "x" * 201}), 422)
    problem(api.get(proposals, params={"text": "a\x00"}), 422)
    (weak,) = api.get(proposals, params={"text": "weak"}).json()["items"]
    api.post(f"{proposals}/{weak['id']}/reject", json={"user_id": 1, "notes": "too weak"})
    api.post(f"{proposals}/{weak['id']}/undo")
    first = api.get("/api/v1/knowledge/decisions", params={"limit": 1}).json()
    (undone,), rest = first["items"], {"cursor": first["next_cursor"]}
    (rejected,) = api.get("/api/v1/knowledge/decisions", params=rest).json()["items"]
    assert [(one["action"], one["label"], one["status_now"], one["can_undo"]) for one in (undone, rejected)] == [
        ("undo", "weak", "pending", False),
        ("reject", "weak", "pending", False),
    ]
    assert (rejected["who"], rejected["reason"], rejected["proposal_id"]) == ("user 1", "too weak", weak["id"])
    problem(api.get("/api/v1/knowledge/decisions", params={"cursor": "x"}), 422)


def test_an_undo_refuses_to_remove_an_acknowledged_edit_and_says_what_to_do(
    api: httpx.Client, proposals: dict[str, str]
) -> None:
    topic_id = api.post(f"{proposals['weak']}/approve").json()["entity_id"]
    edit = api.patch(f"/api/v1/topics/{topic_id}", json={"description": "what a user wrote"})
    assert edit.status_code == 200
    message = problem(api.post(f"{proposals['weak']}/undo"), 409)
    assert message.startswith(f"Topic {topic_id} stays: somebody has changed its description since the approval (last")
    assert "then undo again" in message
    assert api.get(f"/api/v1/topics/{topic_id}").json() == edit.json()
    assert api.get(proposals["weak"]).json()["status"] == "approved"


def test_a_bulk_undo_returns_all_but_the_edited_rows_which_it_lists(
    api: httpx.Client, proposals: dict[str, str]
) -> None:
    ids = [proposals[name].rpartition("/")[2] for name in ("backups", "weak", "restore")]
    bulk = "/api/v1/knowledge/proposals/bulk"
    approved = api.post(bulk, json={"action": "approve", "proposal_ids": ids}).json()["decided"]
    api.patch(f"/api/v1/topics/{approved[1]['entity_id']}", json={"description": "edited"}).raise_for_status()
    answer = api.post(bulk, json={"action": "undo", "proposal_ids": ids}).json()
    assert {one["proposal_id"]: one["status"] for one in answer["decided"]} == {ids[0]: "pending", ids[2]: "pending"}
    ((proposal_id, status, detail),) = [tuple(one.values()) for one in answer["undecided"]]
    assert (proposal_id, status, "description" in detail) == (ids[1], 409, True)
    waiting = api.get("/api/v1/knowledge/proposals").json()["items"]
    assert {one["id"] for one in waiting} == {ids[0], ids[2]}
    assert {one["review_action"] for one in waiting} == {"undo"}
