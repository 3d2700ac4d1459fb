"""The actions of a reviewer in a browser."""

from typing import Any
from uuid import UUID

from playwright.sync_api import Browser, BrowserContext, Page, expect

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.pages.frame import PREFERENCES_COOKIE, Preferences
from knowledge_migration_tests.pages.living import Living
from knowledge_migration_tests.pages.waiting import waiting_proposals
from knowledge_migration_tests.support.emptying import delete_all_rows

TIMEOUT_MS = 30_000
"""For busy machines; normally nothing takes that long."""

expect.set_options(timeout=TIMEOUT_MS)


def begun(served: Living) -> Living:
    """The service that a module shares, with twelve pending topics and three pending atoms and nothing else."""
    delete_all_rows(served.database)
    waiting_proposals(served.database)
    served.begin_test()
    return served


def visitor(browser: Browser, served: Living, *, tour_seen: bool = True, **options: Any) -> BrowserContext:
    """A browser context; without the tour by default."""
    context = browser.new_context(**{"viewport": {"width": 1300, "height": 900}, "reduced_motion": "reduce", **options})
    context.set_default_timeout(TIMEOUT_MS)
    if tour_seen:
        context.add_cookies(
            [{"name": PREFERENCES_COOKIE, "value": Preferences(tour_seen=True).as_cookie, "url": served.url}]
        )
    return context


def signed_in(
    context: BrowserContext, served: Living, token: str | None = None, user: str = "", path: str = "/review"
) -> Page:
    """A page of a person who has signed in, ready for keys; the form itself is the subject of other tests."""
    if token or user:
        form = {"token": token or "", "user": user, "next": "/review"}
        answer = context.request.post(
            f"{served.url}/sign-in", form=form, headers={"origin": served.url}, max_redirects=0
        )
        assert (answer.status, answer.headers["location"]) == (303, "/review")
    page = context.new_page()
    page.goto(served.url + path)
    if path.startswith("/review"):
        ready(page)
    return page


def ready(page: Page) -> None:
    """Waits until the page handles keys."""
    page.wait_for_function("window.pages?.listening")
    expect(page.locator(".counts")).not_to_be_empty()


def heading(page: Page) -> str:
    """The heading of the open proposal."""
    return page.locator("#proposal-heading").inner_text()


def opened(page: Page) -> UUID:
    """The id of the open proposal."""
    return UUID(page.locator("[data-proposal]").get_attribute("data-proposal"))


def press(page: Page, key: str, then: str) -> None:
    """Presses a key and waits for the heading of the next proposal."""
    page.keyboard.press(key)
    expect(page.locator("#proposal-heading")).to_have_text(then)


def edit(page: Page) -> None:
    """Opens the form and waits until its first field has the focus."""
    page.keyboard.press("e")
    expect(page.locator("#edit-name, #edit-title")).to_be_focused()


def rows(database: Database, query: str) -> list[dict[str, Any]]:
    """The rows of a query."""
    with database.connect("test") as connection:
        return [dict(row) for row in connection.execute(query).fetchall()]


def change(database: Database, statement: str) -> None:
    """A change by another user."""
    with database.connect("test") as connection:
        connection.execute(statement)
