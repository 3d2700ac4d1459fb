"""Clients of the application: its lifespan runs, each request goes through its middleware and handlers."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import httpx
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from fastapi import FastAPI

from knowledge_migration.knowledge.api.app import create_app
from knowledge_migration.knowledge.service import KnowledgeService
from knowledge_migration_tests.knowledge.conftest import ServiceMaker

REVIEWER, ADMIN = "a reviewer's long token", "an admin's long token, too"
TOKENS = {"reviewer_token": REVIEWER, "admin_token": ADMIN}


class Client:
    """Sends requests to the application from a synchronous test; the event loop runs in its own thread."""

    def __init__(self, portal: BlockingPortal, http: httpx.AsyncClient) -> None:
        self.portal, self._http = portal, http

    def ask(self, method: str, path: str, **values: Any) -> httpx.Response:
        """One request; paths are below /api/v1 except /health and the like."""
        prefix = "" if path.startswith(("/health", "/metrics", "/openapi", "/docs", "//")) else "/api/v1"
        return self.portal.call(partial(self._http.request, method, f"{prefix}{path}", **values))

    def get(self, path: str, **values: Any) -> httpx.Response:
        """A GET."""
        return self.ask("GET", path, **values)

    def post(self, path: str, **values: Any) -> httpx.Response:
        """A POST."""
        return self.ask("POST", path, **values)

    def patch(self, path: str, **values: Any) -> httpx.Response:
        """A PATCH."""
        return self.ask("PATCH", path, **values)


@contextmanager
def talking(
    service: KnowledgeService, address: str = "127.0.0.1", changed: Callable[[FastAPI], object] = lambda app: None
) -> Iterator[Client]:
    """A client at an address while the application runs; `changed` can modify the application first."""
    app = create_app(service)
    changed(app)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(address, 50_000))
    http = httpx.AsyncClient(transport=transport, base_url="http://localhost:8000")
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(app.router.lifespan_context(app)),
        portal.wrap_async_context_manager(http),
    ):
        yield Client(portal, http)


Talk = Callable[..., AbstractContextManager[Client]]


@pytest.fixture
def talk(make_service: ServiceMaker) -> Talk:
    """Opens a client of a service with an extraction and options."""

    def opened(answer: Any = None, *, address: str = "127.0.0.1", **options: Any) -> AbstractContextManager[Client]:
        return talking(make_service(answer, **options), address)

    return opened


@pytest.fixture
def api(talk: Talk) -> Iterator[Client]:
    """A client on this machine, of a service without tokens that extracts nothing."""
    with talk() as client:
        yield client


def showing(token: str) -> dict[str, str]:
    """The header with a token."""
    return {"Authorization": f"Bearer {token}"}


def problem(answer: httpx.Response, status: int) -> str:
    """The detail of a problem document, which must have this status and only the members of RFC 9457."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert set(body) <= {"type", "title", "status", "detail", "errors"}
    assert (body["status"], body["type"]) == (status, "about:blank")
    assert body["title"]
    return str(body["detail"])
