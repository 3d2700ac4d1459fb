"""The OpenAPI document: every operation and every error."""

import json
import re
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from knowledge_migration.knowledge.api.app import create_app
from knowledge_migration.knowledge.options import ServiceOptions
from knowledge_migration.knowledge.service import KnowledgeService
from knowledge_migration_tests.knowledge.conftest import FakeExtractor

PROBLEM = {"$ref": "#/components/schemas/Problem"}
EVERY = {"401", "403", "503"}
MORE = {
    "post /api/v1/knowledge/extract": {"404", "422", "429", "502"},
    "post /api/v1/topics": {"409", "422"},
    "get /api/v1/topics/{topic_id}": {"404", "422"},
    "patch /api/v1/topics/{topic_id}": {"404", "409", "422"},
    "post /api/v1/atoms": {"404", "422"},
    "delete /api/v1/atoms/{atom_id}": {"404", "422"},
    "post /api/v1/admin/config": {"409", "422"},
    "get /api/v1/admin/config": set(),
    "post /api/v1/knowledge/proposals/{proposal_id}/approve": {"404", "409", "422"},
    "post /api/v1/knowledge/proposals/{proposal_id}/merge": {"404", "409", "422"},
    "get /api/v1/knowledge/proposals": {"422"},
    "get /api/v1/knowledge/runs/{run_id}": {"404", "422"},
}


SECRETS = {"reviewer_token": "a reviewer's long token", "admin_token": "an admin's long token, too"}


def application() -> FastAPI:
    """The application of a service that is not started."""
    options = ServiceOptions(database_url="postgresql://knowledge:secret@db.example/knowledge", **SECRETS)
    return create_app(KnowledgeService(options, FakeExtractor()))


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The OpenAPI document; it needs no database."""
    return application().openapi()


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method} {path}": operation for path, item in document["paths"].items() for method, operation in item.items()
    }


def test_every_operation_is_described(document: dict[str, Any]) -> None:
    for name, operation in operations(document).items():
        assert operation["summary"], name
        assert operation["description"].endswith("."), name
        assert set(operation["tags"]) <= {tag["name"] for tag in document["tags"]}, name
    identities = [operation["operationId"] for operation in operations(document).values()]
    assert len(identities) == len(set(identities))


def test_every_error_is_documented_as_a_problem(document: dict[str, Any]) -> None:
    for name, operation in operations(document).items():
        for status, response in operation["responses"].items():
            assert response["description"], (name, status)
            if not status.startswith("2") and name != "get /health":
                assert response["content"]["application/problem+json"]["schema"] == PROBLEM, (name, status)


def test_the_errors_that_an_operation_has_are_documented(document: dict[str, Any]) -> None:
    found = operations(document)
    for name, operation in found.items():
        if name.split()[1].startswith("/api/"):
            assert set(operation["responses"]) >= EVERY, name
    for name, more in MORE.items():
        documented = {status for status in found[name]["responses"] if not status.startswith("2")}
        assert documented == EVERY | more, name


def test_an_approval_describes_its_corrections(document: dict[str, Any]) -> None:
    operation = operations(document)["post /api/v1/knowledge/proposals/{proposal_id}/approve"]
    assert "corrected and approved at once" in operation["description"]
    correction = document["components"]["schemas"]["Correction"]
    assert correction["additionalProperties"] is False
    of = {name: field["description"] for name, field in correction["properties"].items()}
    assert {name for name in of if of[name] == "Of a topic."} == {"name", "description", "icon", "color"}
    assert {name for name in of if of[name] == "Of an atom."} == {"type", "title", "content", "meta"}
    assert correction["properties"]["name"]["maxLength"] == 100


def test_every_operation_but_health_needs_a_token(document: dict[str, Any]) -> None:
    without = [name for name, operation in operations(document).items() if not operation.get("security")]
    assert without == ["get /health"]


def test_the_document_contains_no_secret(document: dict[str, Any]) -> None:
    text = json.dumps(document)
    for secret in (*SECRETS.values(), "db.example", "postgresql"):
        assert secret not in text


def test_the_reference_page_describes_every_operation_without_a_script_or_another_host(
    document: dict[str, Any],
) -> None:
    answer = TestClient(application()).get("/docs")

    assert answer.status_code == 200
    assert {operation["operationId"] for operation in operations(document).values()} <= set(
        re.findall(r'<details id="([^"]+)"', answer.text)
    )
    assert re.findall(r"<script|<link|src=|url\(|https?://(?!127\.0\.0\.1)[^\s<]*", answer.text) == []
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
