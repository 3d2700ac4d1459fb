"""The frame of every page: styles, header with links, theme and signed-in user, and the preferences that a browser keeps."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from fastapi import Request
from nicegui import Client, ui
from starlette.requests import HTTPConnection

from knowledge_migration.knowledge.errors import KnowledgeError
from knowledge_migration.knowledge.service import KnowledgeService
from knowledge_migration.pages.elements import Text, icon_button, named
from knowledge_migration.pages.session import Session

log = logging.getLogger(__name__)

PREFERENCES_COOKIE = "knowledge_preferences"
Theme = Literal["light", "dark", "auto"]
DARK: dict[str, bool | None] = {"light": False, "dark": True, "auto": None}
NEXT_THEME: dict[Theme, Theme] = {"auto": "dark", "dark": "light", "light": "auto"}
THEME_ICON = {"auto": "brightness_auto", "dark": "dark_mode", "light": "light_mode"}
COLOURS = {
    "primary": "#1d4ed8",
    "secondary": "#475569",
    "positive": "#15803d",
    "negative": "#b91c1c",
    "warning": "#b45309",
    "info": "#0369a1",
    "dark": "#1b2230",
    "dark_page": "#11161f",
}
"""Each has a contrast of at least 4.5:1 against white (WCAG AA)."""


@dataclass(frozen=True)
class Context:
    """The service, the title of each page by its path, and the address of the assets."""

    service: KnowledgeService
    pages: Mapping[str, str]
    assets: str

    def home_of(self, session: Session) -> str:
        """The page that a person sees first: the reviewers' page is the first one, the admins' page the last one."""
        return list(self.pages)[-1 if session.is_admin else 0]


@dataclass
class Preferences:
    """Kept in a cookie that `pages.js` writes, so that the server renders a page in the right theme; it grants nothing."""

    theme: Theme = "auto"
    tour_seen: bool = False
    keys: bool = True

    @property
    def dark(self) -> bool | None:
        """For NiceGUI; None follows the system."""
        return DARK[self.theme]

    @property
    def as_cookie(self) -> str:
        """The cookie's value."""
        return f"{self.theme}.{int(self.tour_seen)}.{int(self.keys)}"

    def save(self, client: Client) -> None:
        """Stores the preferences in the browser for a year."""
        client.run_javascript(f'pages.savePreferences("{self.as_cookie}")')


def preferences_of(connection: HTTPConnection) -> Preferences:
    """The preferences of a browser; the defaults if its cookie is missing or malformed."""
    theme, *rest = connection.cookies.get(PREFERENCES_COOKIE, "").split(".")
    if theme not in DARK or len(rest) != 2 or not set(rest) <= {"0", "1"}:
        return Preferences()
    return Preferences(theme, rest[0] == "1", rest[1] == "1")  # type: ignore[arg-type]


def session_of_page(request: Request) -> Session:
    """The session of this page, which the guard has stored."""
    session: Session = request.state.session
    return session


@contextmanager
def frame(
    context: Context, request: Request, path: str, *, tools: Callable[[], None] | None = None
) -> Iterator[Preferences]:
    """The page around the elements of the block; `tools` adds the page's own buttons to the header."""
    preferences = preferences_of(request)
    ui.colors(**COLOURS)
    ui.add_head_html(f'<link rel="stylesheet" href="{context.assets}/pages.css">')
    ui.add_head_html(f'<script src="{context.assets}/pages.js"></script>')
    dark = ui.dark_mode(preferences.dark)
    with ui.header().classes("bar"):
        ui.link("Skip to content", "#content").classes("skip")
        with ui.element("nav").props('aria-label="Pages"').classes("pages"):
            for page, title in context.pages.items():
                link = ui.link(title, page).classes("page-link")
                if page == path:
                    link.props('aria-current="page"')
        ui.space()
        if tools:
            tools()
        _theme(preferences, dark)
        _account(session_of_page(request), path)
    with ui.element("div").props("id=content tabindex=-1").classes("content"):
        yield preferences


def _theme(preferences: Preferences, dark: ui.dark_mode) -> None:
    def change() -> None:
        preferences.theme = NEXT_THEME[preferences.theme]
        dark.value = preferences.dark
        show()
        preferences.save(toggle.client)

    def show() -> None:
        toggle.props(f'icon={THEME_ICON[preferences.theme]} aria-label="Theme: {preferences.theme}"')

    toggle = icon_button(THEME_ICON[preferences.theme], "Theme: system, dark or light", change).classes("theme")
    show()


def _account(session: Session, path: str) -> None:
    with ui.element("form").props('method=post action="/sign-out"').classes("account"):
        Text("span", f"{session.name} ({session.role})" if session.name else session.role, "account-name")
        ui.element("input").props(f'type=hidden name=next value="{path}"')
        is_known = bool(session.name or session.expires_at)
        label = "Sign out" if is_known else "Sign in as…"
        button = ui.button(icon="logout" if is_known else "login", color=None).props("flat dense no-caps type=submit")
        with named(button, label):
            Text("span", label, "account-label")


def show_failure(error: Exception) -> None:
    """Replaces a page that raised an error; only errors meant for users are shown, others are logged."""
    log.error("A page could not be rendered", exc_info=error)
    is_meant = isinstance(error, KnowledgeError)
    with ui.element("div").classes("sign-in").props("role=alert"):
        Text("h1", error.title if isinstance(error, KnowledgeError) else "The page cannot be displayed")
        Text("p", str(error) if is_meant else "The service failed; see its log. Reload the page in a moment.")
