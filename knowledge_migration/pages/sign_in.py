"""Signing in and out: plain forms, because only an answer to a request can set a cookie that scripts cannot read.

The page is plain HTML too: before somebody has signed in there is no socket.
"""

import asyncio
from typing import Annotated
from urllib.parse import quote

import sqlalchemy as sa
from fastapi import Form, Request
from jinja2 import Environment, PackageLoader
from nicegui import APIRouter, Client
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from knowledge_migration.knowledge.api.access import role_of
from knowledge_migration.knowledge.errors import UnavailableError
from knowledge_migration.knowledge.proposals.history import full_name
from knowledge_migration.knowledge.tables import users
from knowledge_migration.pages.context import Context
from knowledge_migration.pages.guard import SIGN_IN, is_same_site
from knowledge_migration.pages.preferences import preferences_of
from knowledge_migration.pages.session import COOKIE, SESSION_SECONDS, Session, written

PROBLEMS = {
    "token": "That is not the token of a reviewer or of an admin. Whoever runs the service has it.",
    "user": "There is no such user. Give the number or the e-mail address of a user, or leave it empty.",
    "database": "The database does not answer at the moment. Try again.",
}
WRONG_TOKEN_SECONDS = 0.5
PAGE = Environment(loader=PackageLoader("knowledge_migration", "pages"), autoescape=True).get_template(
    "sign_in.html.j2"
)


def install(context: Context, router: APIRouter) -> None:
    """The page and the two requests."""

    @router.get(SIGN_IN, include_in_schema=False)
    async def sign_in_page(request: Request, next: str = "", problem: str = "") -> Response:
        theme = preferences_of(request).theme
        words = PROBLEMS.get(problem)
        needs_token = context.service.options.has_tokens
        return HTMLResponse(
            PAGE.render(
                assets=context.assets, theme=theme, problem=words, needs_token=needs_token, next=_own(context, next)
            ),
            headers={"Cache-Control": "no-store"},
        )

    @router.post(SIGN_IN, include_in_schema=False)
    async def sign_in(
        request: Request,
        token: Annotated[str, Form()] = "",
        user: Annotated[str, Form()] = "",
        next: Annotated[str, Form()] = "",
    ) -> Response:
        return await _sign_in(context, request, token.strip(), user.strip(), _own(context, next))

    @router.get("/session", include_in_schema=False)
    async def session(request: Request) -> Response:
        """For pages whose connection is gone: whether they could have it again."""
        return Response(status_code=204 if request.state.session else 401, headers={"Cache-Control": "no-store"})

    @router.post("/sign-out", include_in_schema=False)
    async def sign_out(request: Request, next: Annotated[str, Form()] = "") -> Response:
        if not is_same_site(request):
            return PlainTextResponse("Only this site's own pages sign out.", 403)
        answer = RedirectResponse(f"{SIGN_IN}?next={quote(_own(context, next), safe='')}", 303)
        answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
        _leave_other_tabs(request)
        return answer


async def _sign_in(context: Context, request: Request, token: str, user: str, following: str) -> Response:
    if not is_same_site(request):
        return PlainTextResponse("Only this site's own page signs in.", 403)
    options = context.service.options
    role = role_of(options, token) if options.has_tokens else "admin"
    if role is None:
        await asyncio.sleep(WRONG_TOKEN_SECONDS)
        return _again("token", following)
    try:
        who = await context.service.in_transaction(_user, user) if user else None
    except UnavailableError:
        return _again("database", following)
    if user and who is None:
        return _again("user", following)
    session = Session(role, *(who or (None, None)))
    answer = RedirectResponse(following, 303)
    answer.set_cookie(
        COOKIE,
        written(options, session),
        max_age=SESSION_SECONDS,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return answer


def _leave_other_tabs(request: Request) -> None:
    """Pages of the session that was left are loaded again, now without it; else the next person here would act in it."""
    shown = request.cookies.get(COOKIE)
    for page in list(Client.instances.values()):
        if shown and page.request.cookies.get(COOKIE) == shown:
            page.run_javascript("setTimeout(() => location.reload(), 500)")  # when the browser has forgotten the cookie


def _again(problem: str, following: str) -> Response:
    return RedirectResponse(f"{SIGN_IN}?problem={problem}&next={quote(following, safe='')}", 303)


def _own(context: Context, following: str) -> str:
    """Where to go: one of our own pages, never anywhere else."""
    paths = [place.path for place in context.places]
    is_own = any(following == path or following.startswith(f"{path}?") for path in paths)
    plain = is_own and not set(following) & set("\"'<>\\ \r\n")
    return following if plain else paths[0]


def _user(connection: sa.Connection, named: str) -> tuple[int, str] | None:
    """The user of this number or e-mail address, with the name to show."""
    columns = users.c
    by_number = named.isascii() and named.isdigit() and len(named) < 19
    mine = columns.id == int(named) if by_number else sa.func.lower(columns.email) == named.replace("\x00", "").lower()
    query = sa.select(columns.id, columns.first_name, columns.last_name).where(mine).order_by(columns.id).limit(1)
    row = connection.execute(query).one_or_none()
    return (row.id, full_name(row.first_name, row.last_name)) if row else None
