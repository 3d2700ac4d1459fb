"""What a request may cost before its caller is known: access is checked before a body is read, and a body has a limit."""

import asyncio
from typing import Any

from fastapi import Request
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from knowledge_migration.knowledge import metrics
from knowledge_migration.knowledge.api.access import caller_of
from knowledge_migration.knowledge.api.problems import problem_of
from knowledge_migration.knowledge.errors import KnowledgeError
from knowledge_migration.knowledge.service import KnowledgeService

GUARDED = "/api/"
HEADER_SECONDS = 10.0


class RequestLimits:
    """Refuses a caller of the API without reading the body, and a body above the limit of the settings (413)."""

    def __init__(self, app: ASGIApp, service: KnowledgeService) -> None:
        self.app = app
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, with a bounded body."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        try:
            if scope["path"].startswith(GUARDED):
                caller_of(Request(scope), self.service.options)
        except KnowledgeError as error:
            metrics.refused_requests.labels("access").inc()
            return await problem_of(error)(scope, receive, send)
        limit = self.service.options.body_limit_bytes
        stated = Headers(scope=scope).get("content-length", "0")
        if not stated.isdigit() or int(stated) > limit:
            metrics.refused_requests.labels("body").inc()
            return await problem_of(_too_large(limit))(scope, receive, send)
        return await self.app(scope, _bounded(receive, limit), send)


def _bounded(receive: Receive, limit: int) -> Receive:
    """The messages of a body of unknown length, until it is above the limit."""
    received = 0

    async def bounded() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            metrics.refused_requests.labels("body").inc()
            raise _too_large(limit)
        return message

    return bounded


def _too_large(limit: int) -> HTTPException:
    return HTTPException(
        413, f"The body is larger than {limit:,} bytes (KNOWLEDGE_BODY_LIMIT_BYTES). Send less at a time."
    )


class BoundedHeaders(AutoHTTPProtocol):  # type: ignore[misc,valid-type]  # chosen at run time
    """The server's protocol, which closes a connection that does not complete the headers of a request in time."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """The first request may begin."""
        super().connection_made(transport)
        self._expect_headers()

    def data_received(self, data: bytes) -> None:
        """A request whose headers are complete has its own time limits, as has the socket that it may become."""
        super().data_received(data)
        is_socket = self.transport.get_protocol() is not self
        if is_socket or (self.cycle is not None and not self.cycle.response_complete):
            self._cancel()
        elif self._deadline is None:
            self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is expected any more."""
        self._cancel()
        super().connection_lost(exc)

    def _expect_headers(self) -> None:
        self._deadline = asyncio.get_running_loop().call_later(HEADER_SECONDS, self._close)

    def _cancel(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None

    def _close(self) -> None:
        metrics.refused_requests.labels("headers").inc()
        self.transport.close()
