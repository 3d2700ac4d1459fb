"""The HTTP API: who may call it, what it answers, and that nothing in it fails with a 500."""

from collections.abc import Iterator
from typing import Any

import anyio
import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings

from knowledge_migration.engine.database import Connection, Database
from knowledge_migration.knowledge.api.app import create_app
from knowledge_migration.knowledge.extraction.model import Extraction
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.knowledge.options import ServiceOptions
from knowledge_migration.knowledge.service import KnowledgeService
from knowledge_migration_tests.engine.backfill.backfilling import count
from knowledge_migration_tests.knowledge.conftest import Told, atom, topic
from knowledge_migration_tests.serving import serving

REVIEWER, ADMIN = "a reviewer's long token", "an admin's long token, too"
FOUND = Extraction(topics=(topic("backups", 0.8), topic("weak", 0.3)), atoms=(atom("restore", "backups", 0.9),))


@pytest.fixture
def api(peopled: Database) -> Iterator[httpx.Client]:
    """A client of a live service without tokens."""
    with serving(peopled, Told(FOUND)) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield client


@pytest.fixture
def guarded(peopled: Database) -> Iterator[httpx.Client]:
    """A client of a live service with tokens; it shows none."""
    tokens = {"reviewer_token": REVIEWER, "admin_token": ADMIN}
    with serving(peopled, Told(FOUND), **tokens) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield client


def showing(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def problem(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert body["title"]
    return str(body["detail"])


def test_an_extraction_in_dual_write_and_its_review(api: httpx.Client, rows: Connection) -> None:
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


def test_the_application_works_as_before(api: httpx.Client, rows: Connection) -> None:
    made = api.post("/api/v1/topics", json={"name": "one", "description": ""})
    assert made.status_code == 201
    assert "already" in problem(api.post("/api/v1/topics", json={"name": "one", "description": ""}), 409)
    atom_values = {"type": "insight", "title": "t", "content": "c", "confidence": 0.0, "topic_ids": [1]}
    atom_id = api.post("/api/v1/atoms", json=atom_values).json()["id"]
    assert [item["id"] for item in api.get("/api/v1/topics/1/atoms").json()["items"]] == [atom_id]
    assert api.patch(f"/api/v1/atoms/{atom_id}", json={"content": "new"}).json()["content"] == "new"
    assert api.patch("/api/v1/topics/1", json={"icon": None}).json()["icon"] is None
    assert api.delete(f"/api/v1/atoms/{atom_id}").status_code == 204
    assert f"no atom {atom_id}" in problem(api.get(f"/api/v1/atoms/{atom_id}"), 404)
    problem(api.get("/api/v1/topics/99/atoms"), 404)
    problem(api.post("/api/v1/atoms", json={**atom_values, "topic_ids": [99]}), 404)
    assert count(rows, "SELECT count(*) FROM atoms") == 0


def test_pages_end(api: httpx.Client, rows: Connection) -> None:
    rows.execute("INSERT INTO topics (name, description) SELECT 't' || n, '' FROM generate_series(1, 7) AS n")
    seen, cursor = [], ""
    while True:
        page = api.get(f"/api/v1/topics?limit=3{cursor}").json()
        seen += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == list(range(1, 8))


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/v1/knowledge/extract", {"message_ids": []}),
        ("POST", "/api/v1/knowledge/extract", {"message_ids": [0]}),
        ("POST", "/api/v1/knowledge/extract", {"message_ids": [2**63]}),
        ("POST", "/api/v1/topics", {"name": "a\x00b", "description": ""}),
        ("POST", "/api/v1/topics", {"name": "x" * 101, "description": ""}),
        ("PATCH", "/api/v1/topics/1", {"name": None}),
        ("POST", "/api/v1/atoms", {"type": "mystery", "title": "t", "content": ""}),
        ("GET", "/api/v1/topics/0", None),
        ("GET", "/api/v1/topics?cursor=x", None),
        ("GET", "/api/v1/knowledge/proposals?cursor=x", None),
        ("GET", "/api/v1/knowledge/proposals?status=unknown", None),
        ("POST", "/api/v1/admin/config", {"flags": {"dual": True}, "reason": "x"}),
        ("POST", "/api/v1/admin/config", {"flags": {"dual_write": True}, "reason": " "}),
    ],
)
def test_what_is_not_valid_is_a_problem_document(api: httpx.Client, method: str, path: str, body: Any) -> None:
    assert problem(api.request(method, path, json=body), 422)


def test_flags_that_somebody_else_changed_are_a_conflict(api: httpx.Client) -> None:
    change = {"flags": {"dual_write": True}, "reason": "x", "expected_version": 7}
    problem(api.post("/api/v1/admin/config", json=change), 409)
    assert api.post("/api/v1/admin/config/reload").json()["flags"]["version"] == 0


def test_a_full_queue_says_when_to_come_back(peopled: Database) -> None:
    full = {"initial_flags": Flags(enabled=True, cutover_percentage=100), "queue_limit": 1}
    with serving(peopled, Told(FOUND), **full) as url, httpx.Client(base_url=url) as client:
        answers = [client.post("/api/v1/knowledge/extract", json={"message_ids": [1]}) for _ in range(2)]
    assert answers[0].status_code == 200
    assert "nothing is lost" in problem(answers[1], 429)
    assert answers[1].headers["retry-after"] == "60"


def test_without_a_token_nothing_is_told(guarded: httpx.Client) -> None:
    for path in ("/api/v1/topics", "/api/v1/knowledge/proposals", "/api/v1/admin/config", "/metrics"):
        answer = guarded.get(path)
        problem(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"
        problem(guarded.get(path, headers=showing("wrong")), 401)
    assert guarded.get("/health").status_code == 200


def test_a_reviewer_may_review_and_an_admin_may_change_flags(guarded: httpx.Client) -> None:
    assert guarded.get("/api/v1/knowledge/proposals", headers=showing(REVIEWER)).status_code == 200
    change = {"flags": {"dual_write": True}, "reason": "x"}
    problem(guarded.post("/api/v1/admin/config", json=change, headers=showing(REVIEWER)), 403)
    assert guarded.post("/api/v1/admin/config", json=change, headers=showing(ADMIN)).status_code == 200


@pytest.mark.parametrize(
    ("client", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("10.0.0.1", {}, 403),
        ("127.0.0.1", {"host": "evil.example"}, 403),
        ("127.0.0.1", {"origin": "https://evil.example"}, 403),
        ("127.0.0.1", {"origin": "http://localhost:8000"}, 200),
    ],
)
def test_without_tokens_only_this_machine_is_served(
    peopled: Database, client: str, headers: dict[str, str], status: int
) -> None:
    app = create_app(KnowledgeService(ServiceOptions(peopled.url), Told(FOUND)))

    async def ask() -> int:
        transport = httpx.ASGITransport(app, client=(client, 1))
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://localhost") as caller,
        ):
            return (await caller.get("/api/v1/topics", headers=headers)).status_code

    assert anyio.run(ask) == status


def test_a_fault_of_ours_tells_nothing_of_itself(peopled: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("a secret of ours")

    monkeypatch.setattr("knowledge_migration.knowledge.entities.list_entities", broken)
    with serving(peopled, Told(FOUND)) as url, httpx.Client(base_url=url) as client:
        answer = client.get("/api/v1/topics")
    assert "Its log says why" in problem(answer, 500)
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text


def test_health_and_metrics_tell_where_things_stand(api: httpx.Client) -> None:
    api.post("/api/v1/admin/config", json={"flags": {"dual_write": True}, "reason": "x"})
    api.post("/api/v1/knowledge/extract", json={"message_ids": [1], "user_id": 1})
    health = api.get("/health").json()
    assert (health["status"], health["state"], health["flag_version"]) == ("ok", "dual_write", 1)
    assert (health["schema_revision"], health["backfill"], health["pending_proposals"]) == ("0007_service", None, 1)
    text = api.get("/metrics").text
    for name in (
        "knowledge_proposal_created_total{",
        "knowledge_proposal_creation_duration_seconds_count{",
        'knowledge_extraction_duration_seconds_count{mode="dual_write",outcome="completed"}',
        "knowledge_shadow_failures_total",
        "knowledge_review_queue_depth 1.0",
        "knowledge_flag_version 1.0",
        "knowledge_http_requests_total{",
        "knowledge_http_errors_total",
    ):
        assert name in text, name


def test_health_says_that_the_database_is_away(peopled: Database, server: Any) -> None:
    with serving(peopled, Told(FOUND)) as url, httpx.Client(base_url=url, timeout=30) as client:
        with server.admin.connect("test") as admin:
            admin.execute(f"ALTER DATABASE {peopled.name} ALLOW_CONNECTIONS false")
            kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %(name)s"
            admin.execute(kill, {"name": peopled.name})
            answer = client.get("/health")
            assert (answer.status_code, answer.json()["database"]) == (503, "unreachable")
            problem(client.get("/api/v1/topics"), 503)
            admin.execute(f"ALTER DATABASE {peopled.name} ALLOW_CONNECTIONS true")
        assert client.get("/api/v1/topics").status_code == 200


def test_every_operation_says_what_it_does_and_how_it_fails(api: httpx.Client) -> None:
    document = api.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["description"], (method, path)
            assert operation["tags"], (method, path)
            if path.startswith("/api"):
                assert {"401", "403", "503"} <= operation["responses"].keys(), (method, path)


def test_no_request_that_the_description_allows_ends_in_a_500(peopled: Database) -> None:
    with serving(peopled, Told(FOUND), initial_flags=Flags(dual_write=True)) as url:
        schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
        failed: list[str] = []
        for result in schema.get_all_operations():
            operation = result.ok()

            @given(case=operation.as_strategy())
            @settings(
                max_examples=15,
                derandomize=True,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            )
            def check(case: Any) -> None:
                answer = case.call()
                if answer.status_code in (500, 502):
                    failed.append(f"{case.method} {case.path} {case.body!r}: {answer.text[:200]}")

            check()
    assert failed == []
