"""The legacy routes: topics and atoms are created, read, changed, listed and deleted."""

from typing import Any

import pytest

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.knowledge.options import ServiceOptions
from knowledge_migration.knowledge.service import KnowledgeService
from knowledge_migration_tests.engine.backfill.backfilling import count
from knowledge_migration_tests.knowledge.api.conftest import Client, Talk, problem, talking
from knowledge_migration_tests.knowledge.conftest import FakeExtractor

TOPIC = {"name": "backups", "description": "how we keep them"}
ATOM = {"type": "decision", "title": "keep thirty days", "content": "of backups"}
SHOWN_OF_A_TOPIC = {"id", "name", "description", "icon", "color", "created_at", "updated_at"}
SHOWN_OF_AN_ATOM = {
    *("id", "type", "title", "content", "confidence", "user_approved", "meta", "created_at", "updated_at"),
}


def made(api: Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = api.post(path, json=body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_a_create_response_equals_the_row_that_can_be_read(api: Client) -> None:
    one = made(api, "/topics", TOPIC)
    assert set(one) == SHOWN_OF_A_TOPIC
    assert (one["icon"], one["color"]) == ("FolderIcon", "#64748B")
    assert api.get(f"/topics/{one['id']}").json() == one
    atom = made(api, "/atoms", {**ATOM, "meta": {"a": [1, None, "ü"]}, "confidence": 1, "topic_ids": [one["id"]] * 2})
    assert set(atom) == SHOWN_OF_AN_ATOM
    assert (atom["meta"], atom["confidence"], atom["user_approved"]) == ({"a": [1, None, "ü"]}, 1.0, False)
    assert api.get(f"/atoms/{atom['id']}").json() == atom
    assert api.get(f"/topics/{one['id']}/atoms").json() == {"items": [atom], "next_cursor": None}


def test_before_phase_1_everything_works(database: Database, connection: Connection) -> None:
    with talking(KnowledgeService(ServiceOptions(database_url=database.url), FakeExtractor())) as api:
        one = made(api, "/topics", TOPIC)
        atom = made(api, "/atoms", {**ATOM, "topic_ids": [one["id"]]})
        assert api.patch(f"/atoms/{atom['id']}", json={"title": "sixty"}).json()["title"] == "sixty"
        assert api.ask("DELETE", f"/atoms/{atom['id']}").status_code == 204
    assert count(connection, "SELECT count(*) FROM topics") == 1


def test_values_omitted_from_a_change_stay(api: Client) -> None:
    one = made(api, "/topics", TOPIC)
    changed = api.patch(f"/topics/{one['id']}", json={"description": "new", "icon": None}).json()
    assert changed == {**one, "description": "new", "icon": None, "updated_at": changed["updated_at"]}
    assert changed["updated_at"] > one["updated_at"]
    assert api.patch(f"/topics/{one['id']}", json={}).json() == changed
    atom = made(api, "/atoms", {**ATOM, "meta": {"a": 1}, "confidence": 0.5, "user_approved": True})
    changed = api.patch(f"/atoms/{atom['id']}", json={"meta": None, "confidence": None}).json()
    assert changed == {**atom, "meta": None, "confidence": None, "updated_at": changed["updated_at"]}


def test_null_for_a_not_null_column_is_refused(api: Client) -> None:
    one, atom = made(api, "/topics", TOPIC), made(api, "/atoms", ATOM)
    for column in ("name", "description"):
        assert column in problem(api.patch(f"/topics/{one['id']}", json={column: None}), 422)
    for column in ("type", "title", "content", "user_approved"):
        assert column in problem(api.patch(f"/atoms/{atom['id']}", json={column: None}), 422)
    assert (api.get(f"/topics/{one['id']}").json(), api.get(f"/atoms/{atom['id']}").json()) == (one, atom)


def test_values_that_a_column_cannot_store_are_refused(api: Client) -> None:
    for change in (
        {"name": "x" * 101},
        {"name": ""},
        {"name": "a\x00b"},
        {"icon": "x" * 51},
        {"color": "blue"},
        {"color": "#64748B\n"},
        {"id": 7},
    ):
        problem(api.post("/topics", json={**TOPIC, **change}), 422)
    for change in (
        {"title": "x" * 201},
        {"content": "x" * 100_001},
        {"content": "\x00"},
        {"confidence": 1.01},
        {"confidence": "high"},
        {"type": "mystery"},
        {"topic_ids": [-(2**63) - 1]},
        {"topic_ids": [2**63]},
        {"topic_ids": list(range(1, 102))},
        {"meta": [1]},
    ):
        problem(api.post("/atoms", json={**ATOM, **change}), 422)
    surrogate = '{"name": "\\ud800", "description": ""}'
    problem(api.post("/topics", content=surrogate, headers={"content-type": "application/json"}), 422)
    for identity in ("x", str(2**63), str(-(2**63) - 1), "1.5"):
        problem(api.get(f"/topics/{identity}"), 422)
    assert api.get("/topics").json()["items"] == api.get("/atoms").json()["items"] == []


def test_texts_of_every_script_are_stored_unchanged(api: Client) -> None:
    text = "Ünïcödé 漢字 🦆 \t\n'; DROP TABLE topics; -- %s %(a)s \\ \u202e"
    assert api.get(f"/topics/{made(api, '/topics', {'name': text, 'description': text})['id']}").json()["name"] == text


def test_the_name_of_a_topic_is_unique(api: Client) -> None:
    made(api, "/topics", TOPIC)
    other = made(api, "/topics", {**TOPIC, "name": "restores"})
    assert "'backups' already" in problem(api.post("/topics", json=TOPIC), 409)
    assert "'backups' already" in problem(api.patch(f"/topics/{other['id']}", json={"name": "backups"}), 409)
    assert api.patch(f"/topics/{other['id']}", json={"name": "restores"}).status_code == 200
    made(api, "/topics", {**TOPIC, "name": "Backups"})


def test_an_atom_under_an_unknown_topic_is_not_written_at_all(api: Client, rows: Connection) -> None:
    one = made(api, "/topics", TOPIC)
    problem(api.post("/atoms", json={**ATOM, "topic_ids": [one["id"], 99]}), 404)
    assert count(rows, "SELECT count(*) FROM atoms") == count(rows, "SELECT count(*) FROM topic_atoms") == 0


def test_deleting_an_atom_deletes_its_relations_and_nothing_else(api: Client, rows: Connection) -> None:
    one = made(api, "/topics", TOPIC)
    first, second, third = (made(api, "/atoms", {**ATOM, "topic_ids": [one["id"]]})["id"] for _ in range(3))
    for pair in ((first, second), (second, first), (second, third)):
        link = "INSERT INTO atom_links (from_atom_id, to_atom_id, link_type) VALUES (%(a)s, %(b)s, 'supports')"
        rows.execute(link, {"a": pair[0], "b": pair[1]})
    answer = api.ask("DELETE", f"/atoms/{first}")
    assert (answer.status_code, answer.content) == (204, b"")
    problem(api.ask("DELETE", f"/atoms/{first}"), 404)
    assert [item["id"] for item in api.get(f"/topics/{one['id']}/atoms").json()["items"]] == [second, third]
    (left,) = rows.execute("SELECT from_atom_id, to_atom_id FROM atom_links").fetchall()
    assert tuple(left.values()) == (second, third)


def test_an_atom_with_a_proposal_can_be_deleted_and_the_proposal_stays(talk: Talk, rows: Connection) -> None:
    with talk(initial_flags=Flags(dual_write=True)) as api:
        atom = made(api, "/atoms", ATOM)
        assert count(rows, "SELECT count(*) FROM atom_proposals") == 1
        assert api.ask("DELETE", f"/atoms/{atom['id']}").status_code == 204
    (kept,) = rows.execute("SELECT title FROM atom_proposals").fetchall()
    assert kept["title"] == ATOM["title"]


@pytest.mark.parametrize("path", ["/topics", "/atoms", "/topics/1/atoms"])
def test_pages_follow_each_other_without_a_gap_while_others_write(api: Client, rows: Connection, path: str) -> None:
    rows.execute("INSERT INTO topics (name, description) SELECT 't' || n, '' FROM generate_series(1, 7) AS n")
    rows.execute("""
        INSERT INTO atoms (type, title, content, user_approved) SELECT 'insight', 'a', '', false FROM generate_series(1, 7);
        INSERT INTO topic_atoms (topic_id, atom_id) SELECT 1, id FROM atoms
    """)
    seen, cursor = list[int](), {}
    while True:
        page = api.get(path, params={"limit": 3, **cursor}).json()
        seen += [item["id"] for item in page["items"]]
        rows.execute("DELETE FROM topic_atoms WHERE atom_id = 1")  # behind the cursor: nothing moves
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == [1, 2, 3, 4, 5, 6, 7]


def test_a_page_that_is_exactly_full_is_the_last(api: Client, rows: Connection) -> None:
    rows.execute("INSERT INTO topics (name, description) SELECT 't' || n, '' FROM generate_series(1, 4) AS n")
    assert api.get("/topics?limit=4").json()["next_cursor"] is None
    assert api.get("/topics?limit=3").json()["next_cursor"] == "3"
    assert api.get(f"/topics?cursor={2**63 - 1}").json() == {"items": [], "next_cursor": None}
    for wrong in (
        "cursor=x",
        "cursor=%C2%B2",
        "cursor=",
        f"cursor={2**63}",
        f"cursor={-(2**63) - 1}",
        "limit=0",
        "limit=201",
    ):
        problem(api.get(f"/topics?{wrong}"), 422)


EXTREME = r"""
INSERT INTO topics (id, name, description, created_at, updated_at) VALUES
    (-9223372036854775808, 'lowest', '', '4713-01-01 BC', 'infinity'), (-5, 'minus five', '', '-infinity', '294276-12-31'),
    (9223372036854775807, 'highest', repeat('x', 5000000), NULL, now());
INSERT INTO atoms (id, type, title, content, user_approved, confidence, meta) VALUES
    (-7, 'insight', 'a', '', false, 'NaN', (repeat('[', 1500) || repeat(']', 1500))::json),
    (0, 'insight', 'b', '', false, '-Infinity', (repeat('[', 300) || repeat(']', 300))::json),
    (1, 'insight', 'c', '', false, 1e300, '{"a": "\u0000", "b": 1e400}'),
    (2, 'insight', 'd', '', false, NULL, '{"a": "\ud83d"}'),
    (3, 'insight', 'e', '', false, 0.5, ('{"a": ' || repeat('9', 5000) || '}')::json),
    (4, 'insight', 'f', '', false, 0.5, '{"a": 1, "a": 2, "emoji": "\ud83d\ude00"}');
INSERT INTO topic_atoms (topic_id, atom_id) SELECT -9223372036854775808, id FROM atoms;
"""


def test_rows_with_extreme_values_are_listed_read_and_changed(api: Client, rows: Connection) -> None:
    rows.execute(EXTREME)
    topics = api.get("/topics").json()["items"]
    assert [topic["id"] for topic in topics] == [-(2**63), -5, 2**63 - 1]
    assert (topics[0]["created_at"][:4], topics[0]["updated_at"][:4]) == ("0001", "9999")
    atoms = api.get(f"/topics/{-(2**63)}/atoms").json()["items"]
    assert [atom["id"] for atom in atoms] == [-7, 0, 1, 2, 3, 4]
    assert [atom["confidence"] for atom in atoms] == [None, None, 1e300, None, 0.5, 0.5]
    assert [type(atom["meta"]) for atom in atoms] == [str, str, str, str, str, dict]
    assert (atoms[0]["meta"], atoms[5]["meta"]) == ("[" * 1500 + "]" * 1500, {"a": 2, "emoji": "😀"})
    for path in (f"/topics/{-(2**63)}", "/topics/-5"):
        assert api.patch(path, json={"description": "new"}).json()["description"] == "new"
    assert api.get("/atoms", params={"limit": 1, "cursor": "-7"}).json()["items"][0]["id"] == 0
    assert api.patch("/atoms/-7", json={"title": "new"}).json() == api.get("/atoms/-7").json()
    assert rows.execute(
        "SELECT count(*) AS deep FROM atoms WHERE meta::text = repeat('[', 1500) || repeat(']', 1500)"
    ).fetchone() == {"deep": 1}
