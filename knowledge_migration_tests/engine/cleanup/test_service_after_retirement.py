"""When the old paths are retired the application works as before, over HTTP, and nothing is written without a proposal."""

from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration_tests.engine.backfill.backfilling import broken_rules, count
from knowledge_migration_tests.engine.cleanup.retiring import change, reopen, retire
from knowledge_migration_tests.serving import serving

ATOM = {"type": "insight", "title": "An atom", "content": "by hand"}


@pytest.fixture
def client(full: Database) -> Iterator[httpx.Client]:
    """A client of a live service on a database whose old paths are retired."""
    with serving(full) as url, httpx.Client(base_url=f"{url}/api/v1", timeout=30) as client:
        retire(full, no_live_writers=False)
        yield client


def made(response: httpx.Response, status: int = 201) -> dict[str, Any]:
    assert response.status_code == status, response.text
    return dict(response.json()) if response.content else {}


def test_a_topic_by_hand_is_written_with_its_proposal(client: httpx.Client, rows: Connection) -> None:
    topic = made(client.post("/topics", json={"name": "By hand", "description": "d", "color": "#64748B"}))
    found = rows.execute(
        "SELECT p.status, p.review_action, p.entity_id, p.name, p.description, p.icon, p.color, r.status AS run, "
        "t.migration_timestamp IS NOT NULL AS dated FROM topics t JOIN topic_proposals p "
        "ON p.id = t.migrated_from_proposal_id JOIN knowledge_extraction_runs r ON r.id = p.extraction_run_id"
    ).fetchall()
    assert found == [
        {
            "status": "approved",
            "review_action": "dual_write",
            "entity_id": topic["id"],
            "name": "By hand",
            "description": "d",
            "icon": topic["icon"],
            "color": "#64748B",
            "run": "completed",
            "dated": True,
        }
    ]


def test_an_atom_by_hand_is_written_with_its_proposal_and_topics(client: httpx.Client, rows: Connection) -> None:
    topic = made(client.post("/topics", json={"name": "One", "description": ""}))["id"]
    values = {**ATOM, "confidence": 0.0, "meta": {"b": 1, "a": [2]}, "topic_ids": [topic]}
    atom = made(client.post("/atoms", json=values))
    found = rows.execute(
        "SELECT p.entity_id, p.confidence, p.meta, p.proposed_topic_ids FROM atoms a JOIN atom_proposals p "
        "ON p.id = a.migrated_from_proposal_id"
    ).fetchall()
    expected = {"entity_id": atom["id"], "confidence": 0.0, "meta": values["meta"], "proposed_topic_ids": [topic]}
    assert found == [expected]
    assert [one["id"] for one in client.get(f"/topics/{topic}/atoms").json()["items"]] == [atom["id"]]


@pytest.mark.parametrize("given", [{}, {"meta": None}, {"confidence": None}, {"meta": {}}])
def test_what_is_not_stated_is_the_same_in_row_and_proposal(
    client: httpx.Client, rows: Connection, given: dict[str, Any]
) -> None:
    made(client.post("/atoms", json={**ATOM, **given}))
    same = "a.meta::jsonb IS NOT DISTINCT FROM p.meta AND a.confidence IS NOT DISTINCT FROM p.confidence"
    query = f"SELECT count(*) FROM atoms a JOIN atom_proposals p ON p.entity_id = a.id WHERE {same}"  # noqa: S608
    assert count(rows, query) == 1
    assert count(rows, "SELECT count(*) FROM atom_proposals WHERE proposed_topic_ids IS NULL") == 1


def test_rows_are_edited_and_deleted_as_ever(client: httpx.Client, rows: Connection) -> None:
    topic = made(client.post("/topics", json={"name": "One", "description": ""}))["id"]
    atom = made(client.post("/atoms", json={**ATOM, "topic_ids": [topic]}))["id"]
    assert made(client.patch(f"/topics/{topic}", json={"name": "Two"}), 200)["name"] == "Two"
    assert made(client.patch(f"/atoms/{atom}", json={"title": "Edited"}), 200)["title"] == "Edited"
    made(client.delete(f"/atoms/{atom}"), 204)
    assert count(rows, "SELECT count(*) FROM atoms") == 0
    assert count(rows, "SELECT count(*) FROM atom_proposals") == 1


def test_a_name_that_exists_is_refused_and_nothing_is_left(client: httpx.Client, rows: Connection) -> None:
    made(client.post("/topics", json={"name": "One", "description": ""}))
    made(client.post("/topics", json={"name": "One", "description": "again"}), 409)
    made(client.post("/atoms", json={**ATOM, "topic_ids": [999]}), 404)
    assert count(rows, "SELECT count(*) FROM knowledge_extraction_runs") == 1
    assert count(rows, "SELECT count(*) FROM atom_proposals") == 0


def test_an_extraction_is_proposals_and_approve_and_undo_work(
    full: Database, client: httpx.Client, rows: Connection
) -> None:
    change(full, {"auto_approve_high_confidence": False})
    result = made(client.post("/knowledge/extract", json={"message_ids": list(range(1, 31)), "user_id": 1}), 200)
    assert result["mode"] == "proposal"
    waiting = client.get("/knowledge/proposals", params={"status": "pending", "limit": 100}).json()["items"]
    assert {one["entity_type"] for one in waiting} == {"topic", "atom"}
    for one in waiting:
        assert made(client.post(f"/knowledge/proposals/{one['id']}/approve", json={}), 200)["status"] == "approved"
    assert count(rows, "SELECT count(*) FROM topics") > 0
    for one in sorted(waiting, key=lambda one: one["entity_type"]):
        made(client.post(f"/knowledge/proposals/{one['id']}/undo", json={}), 200)
    assert count(rows, "SELECT count(*) FROM topics WHERE migrated_from_proposal_id IS NULL") == 0


def test_a_row_without_a_link_is_refused_by_the_database(client: httpx.Client, rows: Connection) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="topics_come_from_proposals"):
        rows.execute("INSERT INTO topics (name, description) VALUES ('raw', '')")
    with pytest.raises(psycopg.errors.CheckViolation, match="atoms_come_from_proposals"):
        rows.execute("INSERT INTO atoms (type, title, content, user_approved) VALUES ('insight', 'raw', '', false)")


def test_the_rules_of_rows_hold(client: httpx.Client, rows: Connection) -> None:
    topic = made(client.post("/topics", json={"name": "One", "description": ""}))["id"]
    made(client.post("/atoms", json={**ATOM, "topic_ids": [topic]}))
    made(client.post("/knowledge/extract", json={"message_ids": list(range(1, 31)), "user_id": 1}), 200)
    assert broken_rules(rows).keys() <= {"migration_run_is_completed"}


def test_after_reopening_direct_writes_work_again(full: Database, client: httpx.Client, rows: Connection) -> None:
    reopen(full)
    change(full, {"enabled": False, "dual_write": False})
    result = made(client.post("/knowledge/extract", json={"message_ids": list(range(1, 31)), "user_id": 1}), 200)
    assert result["mode"] == "direct"
    made(client.post("/topics", json={"name": "One", "description": ""}))
    assert count(rows, "SELECT count(*) FROM topics WHERE migrated_from_proposal_id IS NULL") > 1
