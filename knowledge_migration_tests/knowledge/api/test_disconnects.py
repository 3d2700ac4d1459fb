"""Clients that disconnect before their response, without a server."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from knowledge_migration.knowledge.api.app import create_app
from knowledge_migration.knowledge.api.disconnects import Disconnects
from knowledge_migration.knowledge.options import ServiceOptions
from knowledge_migration.knowledge.service import KnowledgeService
from knowledge_migration_tests.knowledge.conftest import FakeExtractor


def files_behind_a_middleware(*outer: type) -> FastAPI:
    """An application as NiceGUI's: a file, behind a middleware of starlette's kind."""
    app = FastAPI()

    @app.middleware("http")
    async def passes_on(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        return await call_next(request)

    async def file(scope: Scope, receive: Receive, send: Send) -> None:
        """As starlette's response of a file: it gives up when the client has gone."""
        if (await receive())["type"] != "http.disconnect":
            await PlainTextResponse("a file")(scope, receive, send)

    @app.get("/fault")
    def fault() -> None:
        raise RuntimeError("a fault")

    app.mount("/file", file)
    for middleware in outer:
        app.add_middleware(middleware)
    return app


def ask(app: ASGIApp, path: str, *, disconnects: bool) -> list[Message]:
    """The messages that a client gets, which may disconnect at once."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect" if disconnects else "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "scheme": "http",
        "headers": [(b"host", b"127.0.0.1")], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    return sent


def test_a_client_that_disconnects_is_no_error() -> None:
    with pytest.raises(RuntimeError, match="No response returned"):  # if this passes, the middleware is not needed
        ask(files_behind_a_middleware(), "/file/", disconnects=True)

    app = files_behind_a_middleware(Disconnects)
    assert ask(app, "/file/", disconnects=True) == []
    assert ask(app, "/file/", disconnects=False)[0]["status"] == 200


def test_a_fault_is_raised_also_if_the_client_has_gone() -> None:
    with pytest.raises(RuntimeError, match="a fault"):
        ask(files_behind_a_middleware(Disconnects), "/fault", disconnects=True)


def test_a_client_that_disconnects_is_not_counted_as_a_failed_request() -> None:
    service = KnowledgeService(ServiceOptions(database_url="postgresql://db.example/knowledge"), FakeExtractor())
    app = create_app(service)
    app.mount("/pages", files_behind_a_middleware(Disconnects))

    assert ask(app, "/pages/file/", disconnects=True) == []
    with service.measurements.taken() as taken:
        assert taken == {}
