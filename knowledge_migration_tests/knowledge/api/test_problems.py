"""Every error is a problem document that states how to proceed and reveals no internals."""

import logging
from typing import Any

import pytest
from fastapi import FastAPI

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.knowledge.extraction.model import Extraction
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.knowledge.options import ServiceOptions
from knowledge_migration.knowledge.service import KnowledgeService
from knowledge_migration_tests.knowledge.api.conftest import Client, Talk, problem, talking
from knowledge_migration_tests.knowledge.conftest import FakeExtractor, ServiceMaker, topic
from knowledge_migration_tests.support.unreachable import away

JSON = {"content-type": "application/json"}
NOWHERE = "00000000-0000-4000-8000-000000000000"


UNKNOWN: tuple[tuple[str, str, Any, str], ...] = (
    ("GET", "/topics/7", None, "no topic 7"),
    ("GET", "/topics/7/atoms", None, "no topic 7"),
    ("PATCH", "/topics/7", {"name": "x"}, "no topic 7"),
    ("GET", f"/atoms/{2**63 - 1}", None, f"no atom {2**63 - 1}"),
    ("DELETE", "/atoms/7", None, "no atom 7"),
    ("POST", "/atoms", {"type": "insight", "title": "t", "content": "", "topic_ids": [7]}, "does not exist"),
    ("POST", "/knowledge/extract", {"message_ids": [1, 9_999]}, "no message 9999"),
    ("POST", "/knowledge/extract", {"message_ids": [1], "user_id": 9_999}, "no user 9999"),
    ("GET", f"/knowledge/runs/{NOWHERE}", None, NOWHERE),
    ("GET", f"/knowledge/proposals/{NOWHERE}", None, NOWHERE),
    ("POST", f"/knowledge/proposals/{NOWHERE}/approve", None, NOWHERE),
    ("GET", "/nowhere", None, "Not Found"),
)


def test_an_unknown_id_is_named(api: Client) -> None:
    for method, path, body, words in UNKNOWN:
        assert words in problem(api.ask(method, path, json=body), 404)


def test_an_unsupported_method_gets_the_supported_ones(api: Client) -> None:
    answer = api.ask("DELETE", "/topics/1")
    problem(answer, 405)
    assert answer.headers["allow"]


def test_stale_flags_are_a_conflict(api: Client) -> None:
    change = {"flags": {"enabled": True}, "reason": "x", "expected_version": 3}
    assert "Read them again" in problem(api.post("/admin/config", json=change), 409)


def test_an_invalid_request_is_located_without_repeating_it(api: Client) -> None:
    answer = api.post("/atoms", json={"type": "secret type", "title": "", "content": "c", "more": 1})
    problem(answer, 422)
    assert [one["where"] for one in answer.json()["errors"]] == ["body.type", "body.title", "body.more"]
    assert "secret type" not in answer.text


UNSTORABLE = (
    '{"a": NaN}',
    '{"a": [Infinity]}',
    '{"a": 1e400}',
    '{"a": "\\u0000"}',
    '{"\\u0000": 1}',
    '{"a": "\\ud800"}',
    '{"\\udfff": 1}',
    f'{{"a": {"[" * 120}{"]" * 120}}}',
    f'{{"a": {"[" * 600}{"]" * 600}}}',
)


def test_json_that_cannot_be_stored_or_displayed_is_refused(api: Client) -> None:
    for meta in UNSTORABLE:
        body = f'{{"type": "insight", "title": "t", "content": "c", "meta": {meta}}}'
        assert "body.meta" in problem(api.post("/atoms", content=body, headers=JSON), 422)
    assert api.get("/atoms").json()["items"] == []


def test_deep_json_that_is_accepted_can_be_read_again(api: Client) -> None:
    meta = '{"a": %s}' % ('[{"b": ' * 49 + "1" + "}]" * 49)
    body = f'{{"type": "insight", "title": "t", "content": "c", "meta": {meta}}}'
    made = api.post("/atoms", content=body, headers=JSON)
    assert made.status_code == 201
    assert api.get("/atoms").json()["items"] == [made.json()]


def test_flags_that_cannot_be_stored_are_refused(api: Client) -> None:
    for flags in (
        '{"\\ud800": 1}',
        '{"\\u0000": 1}',
        '{"audience": "\\ud800"}',
        '{"auto_approve_threshold": NaN}',
        "{}",
    ):
        body = f'{{"flags": {flags}, "reason": "x"}}'
        problem(api.post("/admin/config", content=body, headers=JSON), 422)


def test_a_body_that_is_not_json_is_a_client_error(api: Client) -> None:
    for body in (b'{"name":', b"", b"[]", b'{"name": "\xff"}', b"[" * 100_000, b'{"name": %s}' % (b"9" * 5_000)):
        assert "body" in problem(api.post("/topics", content=body, headers=JSON), 422)


def test_a_full_queue_responds_with_retry_after_and_writes_nothing(talk: Talk) -> None:
    full = Flags(enabled=True, cutover_percentage=100)
    found = Extraction(topics=(topic("one"), topic("two")))
    with talk(found, initial_flags=full, queue_limit=2, queue_retry_after_seconds=17) as api:
        assert api.post("/knowledge/extract", json={"message_ids": [1]}).status_code == 200
        answer = api.post("/knowledge/extract", json={"message_ids": [2]})
        assert problem(answer, 429)
        assert answer.headers["retry-after"] == "17"
        assert len(api.get("/knowledge/proposals").json()["items"]) == 2


def test_an_extractor_that_fails_is_a_bad_gateway(talk: Talk) -> None:
    async def broken(_: Any) -> None:
        raise RuntimeError("the key is sk-12345")

    with talk(FakeExtractor(broken)) as api:
        answer = api.post("/knowledge/extract", json={"message_ids": [1]})
    assert "Nothing was written" in problem(answer, 502)
    assert "sk-12345" not in answer.text


def test_an_unexpected_error_is_logged_and_not_sent(
    make_service: ServiceMaker, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken() -> None:
        raise ZeroDivisionError("the inside of the service")

    def with_a_broken_route(app: FastAPI) -> None:
        app.get("/api/v1/broken")(broken)

    caplog.set_level(logging.ERROR)
    with talking(make_service(), changed=with_a_broken_route) as api:
        answer = api.get("/broken")
        counted = api.get("/metrics").text
    assert "see its log" in problem(answer, 500)
    for inside in ("inside", "Traceback", "ZeroDivisionError", "File"):
        assert inside not in answer.text
    assert "the inside of the service" in caplog.text
    assert 'route="/api/v1/broken",status="500"' in counted


def test_an_unreachable_database_is_reported_without_its_address(
    talk: Talk, server: EmbeddedServer, peopled: Database
) -> None:
    with talk() as api:
        assert api.get("/topics").status_code == 200
        with away(server, peopled):
            for method, path, body in (
                ("GET", "/topics", None),
                ("POST", "/topics", {"name": "n", "description": ""}),
                ("POST", "/knowledge/extract", {"message_ids": [1]}),
                ("GET", "/knowledge/proposals", None),
                ("POST", "/admin/config", {"flags": {"enabled": True}, "reason": "x"}),
            ):
                answer = api.ask(method, path, json=body)
                assert "does not answer" in problem(answer, 503)
                assert peopled.name not in answer.text
        assert api.get("/topics").json()["items"] == []


def test_an_exhausted_pool_is_reported(make_service: ServiceMaker) -> None:
    service = make_service(pool_size=2, pool_timeout_seconds=1.0)
    with talking(service) as api:
        held = api.portal.wrap_async_context_manager
        with held(service.engine.connect()), held(service.engine.connect()):
            assert "in use" in problem(api.get("/topics"), 503)
        assert api.get("/topics").status_code == 200


def test_before_phase_1_routes_that_need_its_tables_report_it(database: Database) -> None:
    with talking(KnowledgeService(ServiceOptions(database_url=database.url), FakeExtractor())) as api:
        assert api.get("/topics").status_code == 200
        for path in ("/knowledge/proposals", "/knowledge/runs"):
            assert "phase 1" in problem(api.get(path), 503)
        change = {"flags": {"dual_write": True}, "reason": "too early"}
        assert "phase 1" in problem(api.post("/admin/config", json=change), 503)
