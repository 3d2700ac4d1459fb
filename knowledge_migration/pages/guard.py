"""Middleware of the pages: without a session, a page redirects to the sign-in.

The socket of a page opens only for the session of that page and only from the same site, because a browser sends the cookie
for any site that opens one.
"""

import re
import secrets
from collections.abc import Collection
from urllib.parse import quote

from nicegui import Client
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from knowledge_migration.knowledge.api.access import is_same_site
from knowledge_migration.knowledge.errors import KnowledgeError
from knowledge_migration.knowledge.options import ServiceOptions
from knowledge_migration.pages.session import Session, session_of

SIGN_IN = "/sign-in"
SOCKET = "/_nicegui_ws"
SCRIPT = re.compile(rb"<script(?=[ >])")
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
# 'unsafe-eval': NiceGUI requires it, because Vue compiles templates in the browser. Injected scripts have no nonce.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self' 'nonce-{nonce}' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)


class Guard:
    """ASGI middleware around the pages' application; `paths` are the pages that require a session."""

    def __init__(self, app: ASGIApp, options: ServiceOptions, paths: Collection[str]) -> None:
        self.app = app
        self.options = options
        self.paths = tuple(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers refused requests; passes on the others, with the session in `scope["state"]`."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(HTTPConnection(scope), scope)
        if scope["type"] == "http":
            await (refusal or self.app)(scope, receive, _guarded(send))
        elif refusal:
            await send({"type": "websocket.close", "code": 1008, "reason": "not permitted"})
        else:
            await self.app(scope, receive, send)

    def _refusal(self, connection: HTTPConnection, scope: Scope) -> ASGIApp | None:
        path = scope["path"]
        try:
            session = session_of(self.options, connection)
        except KnowledgeError as error:
            return PlainTextResponse(str(error), error.status)
        scope.setdefault("state", {})["session"] = session
        if path.startswith(SOCKET):
            if session is None or not is_same_site(connection) or not _owns_page(session, connection):
                return PlainTextResponse("The socket of a page is for the session of that page only.", 403)
        elif session is None and path.rstrip("/") in self.paths:
            query = f"?{scope['query_string'].decode('latin-1')}" if scope.get("query_string") else ""
            return RedirectResponse(f"{SIGN_IN}?next={quote(path + query, safe='')}", 303)
        return None


def _owns_page(session: Session, connection: HTTPConnection) -> bool:
    """Whether a socket is for a page of this session, or for one that no longer exists."""
    client_ids = connection.query_params.getlist("client_id")
    if len(client_ids) != 1:  # with none or two the page is ambiguous
        return False
    page = Client.instances.get(client_ids[0])
    owner: Session | None = getattr(page.request.state, "session", None) if page else None
    return owner is None or (owner.role, owner.user_id) == (session.role, session.user_id)


def _guarded(send: Send) -> Send:
    """Adds the headers, and buffers an HTML page to give its own scripts their nonce."""
    nonce = secrets.token_urlsafe(16)
    start: Message | None = None
    body = b""

    async def guarded(message: Message) -> None:
        nonlocal start, body
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.update(HEADERS)
            headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY.format(nonce=nonce)
            if headers.get("content-type", "").startswith("text/html"):
                start = message
                return
        elif start is not None and message["type"] == "http.response.body":
            body += message.get("body", b"")
            if message.get("more_body"):
                return
            page = SCRIPT.sub(b'<script nonce="' + nonce.encode() + b'"', body)
            MutableHeaders(scope=start)["content-length"] = str(len(page))
            await send(start)
            message = {"type": "http.response.body", "body": page}
        await send(message)

    return guarded
