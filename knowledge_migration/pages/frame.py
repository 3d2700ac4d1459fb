"""What is the same on every page: head, header with its links, theme, who has signed in, and the live region."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fastapi import Request
from nicegui import ui

from knowledge_migration.knowledge.errors import KnowledgeError
from knowledge_migration.pages.context import Context
from knowledge_migration.pages.elements import Text
from knowledge_migration.pages.preferences import Preferences, Theme, preferences_of
from knowledge_migration.pages.session import Session

log = logging.getLogger(__name__)

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
"""Each is 4.5:1 or more against white, on which it is written or which is written on it (WCAG AA)."""


def session_of_page(request: Request) -> Session:
    """Who sees this page; the guard has put it there."""
    found: Session = request.state.session
    return found


@contextmanager
def frame(
    context: Context, request: Request, here: str, *, tools: Callable[[], None] | None = None
) -> Iterator[Preferences]:
    """The page around what is made in the block; `tools` makes the page's own buttons in the header."""
    preferences = preferences_of(request)
    session = session_of_page(request)
    head(context)
    dark = ui.dark_mode(preferences.dark)
    with ui.header().classes("bar"):
        ui.link("Skip to content", "#content").classes("skip")
        with ui.element("nav").props('aria-label="Pages"').classes("pages"):
            for place in context.places:
                link = ui.link(place.title, place.path).classes("page-link")
                if place.path == here:
                    link.props('aria-current="page"')
        ui.space()
        if tools:
            tools()
        _theme(preferences, dark)
        _account(session, here)
    with ui.element("div").props("id=content tabindex=-1").classes("content"):
        yield preferences


def head(context: Context) -> None:
    """Our colours, styles and script; everything from this very server."""
    ui.colors(**COLOURS)
    ui.add_head_html(f'<link rel="stylesheet" href="{context.assets}/pages.css">')
    ui.add_head_html(f'<script src="{context.assets}/pages.js"></script>')


def remember(preferences: Preferences) -> str:
    """The script that lets the browser keep them for a year."""
    return f'pages.remember("{preferences.as_cookie}")'


def _theme(preferences: Preferences, dark: ui.dark_mode) -> None:
    def change() -> None:
        preferences.theme = NEXT_THEME[preferences.theme]
        dark.value = preferences.dark
        show()
        ui.run_javascript(remember(preferences))

    made = ui.button(on_click=change).props("flat round dense color=white").classes("theme")

    def show() -> None:
        made.props(f'icon={THEME_ICON[preferences.theme]} aria-label="Theme: {preferences.theme}"')

    with made:
        ui.tooltip("Theme: as the system, dark, light")
    show()


def _account(session: Session, here: str) -> None:
    with ui.element("form").props('method=post action="/sign-out"').classes("account"):
        Text("span", f"{session.shown_name} ({session.role})" if session.name else session.role, "who")
        ui.element("input").props(f'type=hidden name=next value="{here}"')
        ui.button("Sign out" if session.name or session.expires_at else "Say who I am").props(
            "flat dense no-caps color=white type=submit"
        )


def failed(error: Exception) -> None:
    """The page in place of one that could not be made; what is not meant for people is logged and not told."""
    log.error("A page could not be made", exc_info=error)
    meant = isinstance(error, KnowledgeError)
    with ui.element("div").classes("sign-in").props("role=alert"):
        Text("h1", error.title if isinstance(error, KnowledgeError) else "The page could not be made")
        Text("p", str(error) if meant else "The service failed. Its log says why. Load the page again in a moment.")
