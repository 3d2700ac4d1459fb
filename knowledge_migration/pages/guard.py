"""Stands before everything that the pages serve: who may see it, and what a browser may do with it.

* A page without a session leads to the sign-in.
* The socket over which a page acts is opened for the session that the page was made for only, and only by a page of this
  very site: a browser sends the cookie along for any site that asks it to open one.
* Scripts run only if they are files of ours or carry the page's nonce; nothing comes from elsewhere, nothing is framed.
  'unsafe-eval' stays: Vue compiles its templates in the browser (NiceGUI cannot do without it). What is injected into a page
  still does not run, because it has no nonce.
"""

import re
import secrets
from collections.abc import Collection
from urllib.parse import quote, urlsplit

from nicegui import Client
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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


def policy(nonce: str) -> str:
    """The content security policy of one page."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'self' 'nonce-{nonce}' 'unsafe-eval'",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data:",
            "font-src 'self'",
            "connect-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    )


class Guard:
    """ASGI middleware around the pages' application."""

    def __init__(self, app: ASGIApp, options: ServiceOptions, paths: Collection[str]) -> None:
        """`paths` are the pages that need a session."""
        self.app = app
        self.options = options
        self.paths = tuple(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers what is refused; passes on the rest, with the session in `scope["state"]`."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        refused = self._refusal(HTTPConnection(scope), scope)
        answer = refused or self.app
        if refused is not None and scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": "not allowed"})
            return
        await answer(scope, receive, send if scope["type"] == "websocket" else _guarded(send))

    def _refusal(self, connection: HTTPConnection, scope: Scope) -> ASGIApp | None:
        path = scope["path"]
        try:
            session = session_of(self.options, connection)
        except KnowledgeError as error:
            return PlainTextResponse(str(error), error.status)
        scope.setdefault("state", {})["session"] = session
        if path.startswith(SOCKET):
            if session is None or not is_same_site(connection) or not _is_of(session, connection):
                return PlainTextResponse("The pages' socket is for their own session only.", 403)
        elif session is None and path.rstrip("/") in self.paths:
            query = f"?{scope['query_string'].decode('latin-1')}" if scope.get("query_string") else ""
            return RedirectResponse(f"{SIGN_IN}?next={quote(path + query, safe='')}", 303)
        return None


def is_same_site(connection: HTTPConnection) -> bool:
    """Whether a browser says that a page of this very host and port asks."""
    origin, host = connection.headers.get("origin"), connection.headers.get("host")
    if origin is None:
        return connection.headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")
    try:
        return urlsplit(origin).netloc.lower() == (host or "").lower()
    except ValueError:
        return False


def _is_of(session: Session, connection: HTTPConnection) -> bool:
    """Whether a socket is for a page that was made for this very one; a page that is not there any more is nobody's."""
    named = connection.query_params.getlist("client_id")
    if len(named) != 1:  # of none or of two it could not be said whose page is meant
        return False
    page = Client.instances.get(named[0])
    owner: Session | None = getattr(page.request.state, "session", None) if page else None
    return owner is None or (owner.role, owner.user_id) == (session.role, session.user_id)


def _guarded(send: Send) -> Send:
    """Adds the headers; holds a page back until it is whole, to give its own scripts their nonce."""
    nonce = secrets.token_urlsafe(16)
    start: Message | None = None
    body = b""

    async def sending(message: Message) -> None:
        nonlocal start, body
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            headers["Content-Security-Policy"] = policy(nonce)
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

    return sending
