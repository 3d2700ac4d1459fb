"""Signing in and out with plain forms: only a response to a request can set a cookie that scripts cannot read.

The page is plain HTML, because there is no socket before a session exists.
"""

import asyncio
from typing import Annotated
from urllib.parse import quote

import sqlalchemy as sa
from fastapi import Form, Request
from jinja2 import Environment, PackageLoader
from nicegui import APIRouter, Client
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from knowledge_migration.knowledge.api.access import is_same_site, role_of
from knowledge_migration.knowledge.errors import UnavailableError
from knowledge_migration.knowledge.proposals.history import full_name
from knowledge_migration.knowledge.tables import users
from knowledge_migration.pages.frame import Context, preferences_of
from knowledge_migration.pages.guard import SIGN_IN
from knowledge_migration.pages.session import COOKIE, SESSION_SECONDS, Session, session_cookie

PROBLEMS = {
    "token": "This is not the token of a reviewer or an admin. Ask the operator of the service for one.",
    "user": "There is no such user. Enter the number or e-mail address of a user, or leave the field empty.",
    "database": "The database does not respond. Try again.",
}
WRONG_TOKEN_SECONDS = 0.5
NOT_STORED = {"Cache-Control": "no-store"}
PAGE = Environment(loader=PackageLoader("knowledge_migration", "pages"), autoescape=True).get_template(
    "sign_in.html.j2"
)


def install(context: Context, router: APIRouter) -> None:
    """Serves the sign-in page, its form, the sign-out and the state of the session."""

    @router.get(SIGN_IN, include_in_schema=False)
    async def sign_in_page(request: Request, next: str = "", problem: str = "") -> Response:
        page = PAGE.render(
            assets=context.assets,
            theme=preferences_of(request).theme,
            problem=PROBLEMS.get(problem),
            needs_token=context.service.options.has_tokens,
            next=_own_page(context, next),
        )
        return HTMLResponse(page, headers=NOT_STORED)

    @router.post(SIGN_IN, include_in_schema=False)
    async def sign_in(
        request: Request,
        token: Annotated[str, Form()] = "",
        user: Annotated[str, Form()] = "",
        next: Annotated[str, Form()] = "",
    ) -> Response:
        return await _sign_in(context, request, token.strip(), user.strip(), _own_page(context, next))

    @router.get("/", include_in_schema=False)
    async def home(request: Request) -> Response:
        session = request.state.session
        return RedirectResponse(context.home_of(session) if session else SIGN_IN, 303)

    @router.get("/session", include_in_schema=False)
    async def session(request: Request) -> Response:
        """For pages that lost their connection: whether the session still exists."""
        return Response(status_code=204 if request.state.session else 401, headers=NOT_STORED)

    @router.post("/sign-out", include_in_schema=False)
    async def sign_out(request: Request, next: Annotated[str, Form()] = "") -> Response:
        if not is_same_site(request):
            return PlainTextResponse("Only pages of this site can sign out.", 403)
        response = RedirectResponse(f"{SIGN_IN}?next={quote(_own_page(context, next), safe='')}", 303)
        response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
        _reload_other_tabs(request)
        return response


async def _sign_in(context: Context, request: Request, token: str, user: str, next_page: str) -> Response:
    if not is_same_site(request):
        return PlainTextResponse("Only the page of this site can sign in.", 403)
    options = context.service.options
    role = role_of(options, token) if options.has_tokens else "admin"
    if role is None:
        await asyncio.sleep(WRONG_TOKEN_SECONDS)
        return _again("token", next_page)
    try:
        identity = await context.service.in_transaction(_user, user) if user else None
    except UnavailableError:
        return _again("database", next_page)
    if user and identity is None:
        return _again("user", next_page)
    response = RedirectResponse(next_page, 303)
    response.set_cookie(
        COOKIE,
        session_cookie(options, Session(role, *(identity or (None, None)))),
        max_age=SESSION_SECONDS,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return response


def _reload_other_tabs(request: Request) -> None:
    """Reloads the other pages of the ended session; otherwise the next person at this browser would act in it."""
    cookie = request.cookies.get(COOKIE)
    for page in list(Client.instances.values()):
        if cookie and page.request.cookies.get(COOKIE) == cookie:
            page.run_javascript("setTimeout(() => location.reload(), 500)")  # after the browser has deleted the cookie


def _again(problem: str, next_page: str) -> Response:
    return RedirectResponse(f"{SIGN_IN}?problem={problem}&next={quote(next_page, safe='')}", 303)


def _own_page(context: Context, address: str) -> str:
    """The address if it is one of our own pages, else `/`, which redirects to the page of the role; never another site."""
    is_own = any(address == path or address.startswith(f"{path}?") for path in context.pages)
    return address if is_own and not set(address) & set("\"'<>\\ \r\n") else "/"


def _user(connection: sa.Connection, identifier: str) -> tuple[int, str] | None:
    """The id and full name of the user with this number or e-mail address."""
    columns = users.c
    is_number = identifier.isascii() and identifier.isdigit() and len(identifier) < 19
    email = identifier.replace("\x00", "").lower()
    matches = columns.id == int(identifier) if is_number else sa.func.lower(columns.email) == email
    query = sa.select(columns.id, columns.first_name, columns.last_name).where(matches).order_by(columns.id).limit(1)
    row = connection.execute(query).one_or_none()
    return (row.id, full_name(row.first_name, row.last_name)) if row else None
