"""What a reviewer does in a browser, in the words of a reviewer."""

from typing import Any
from uuid import UUID

from playwright.sync_api import Browser, BrowserContext, Page, expect

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.pages.frame import PREFERENCES_COOKIE, Preferences
from knowledge_migration_tests.pages.living import Living

PATIENCE_MS = 30_000
"""For busy machines; nothing waits that long where all is well."""

expect.set_options(timeout=PATIENCE_MS)


def visitor(browser: Browser, served: Living, *, tour_seen: bool = True, **options: Any) -> BrowserContext:
    """A browser of somebody; without the tour unless it is asked for."""
    context = browser.new_context(**{"viewport": {"width": 1300, "height": 900}, "reduced_motion": "reduce", **options})
    context.set_default_timeout(PATIENCE_MS)
    if tour_seen:
        context.add_cookies(
            [{"name": PREFERENCES_COOKIE, "value": Preferences(tour_seen=True).as_cookie, "url": served.url}]
        )
    return context


def signed_in(
    context: BrowserContext, served: Living, token: str | None = None, user: str = "", path: str = "/review"
) -> Page:
    """A page of somebody who has signed in with the form, ready for keys."""
    page = context.new_page()
    page.problems = []  # type: ignore[attr-defined]
    page.on("pageerror", lambda error: page.problems.append(str(error)))  # type: ignore[attr-defined]
    page.goto(served.url + ("/sign-in" if token or user else path))
    if token or user:
        if token:
            page.get_by_label("Token").fill(token)
        page.get_by_label("Your user number or e-mail address").fill(user)
        page.get_by_role("button", name="Sign in").click()
        if path != "/review":
            page.goto(served.url + path)
    if path.startswith("/review"):
        ready(page)
    return page


def ready(page: Page) -> None:
    """Returns when the page listens to keys."""
    page.wait_for_function("window.pages?.listening")
    expect(page.locator(".counts")).not_to_be_empty()


def heading(page: Page) -> str:
    """The proposal that lies open."""
    return page.locator("#proposal-heading").inner_text()


def opened(page: Page) -> UUID:
    """Its id."""
    return UUID(page.locator("[data-proposal]").get_attribute("data-proposal"))


def press(page: Page, key: str, then: str) -> None:
    """A key, and the proposal that stands there after it."""
    page.keyboard.press(key)
    expect(page.locator("#proposal-heading")).to_have_text(then)


def edit(page: Page) -> None:
    """Opens the form, and waits until it is there for the hand: what is typed before would be drawn over."""
    page.keyboard.press("e")
    expect(page.locator("#edit-name, #edit-title")).to_be_focused()


def rows(database: Database, query: str) -> list[dict[str, Any]]:
    """What the database says."""
    with database.connect("test") as connection:
        return [dict(row) for row in connection.execute(query).fetchall()]


def change(database: Database, statement: str) -> None:
    """Something that somebody else does."""
    with database.connect("test") as connection:
        connection.execute(statement)
