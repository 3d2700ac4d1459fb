"""axe-core over every page and state, in light and dark: WCAG 2.1 A and AA."""

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration_tests.chromium import needs_chromium
from knowledge_migration_tests.pages.living import Living, living
from knowledge_migration_tests.pages.reviewing import change, press, signed_in, visitor
from knowledge_migration_tests.pages.waiting import waiting_proposals

pytestmark = needs_chromium

RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}}


@pytest.fixture(scope="module")
def served(module_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Living]:
    """A service without tokens, with pending proposals, one of them similar to a row."""
    waiting_proposals(module_database)
    change(
        module_database,
        "INSERT INTO topics (name, description) VALUES ('Topic 1 of old', 'What topic 1 was about.');"
        "UPDATE topic_proposals SET similar_topic_id = (SELECT id FROM topics), similarity_score = 0.87,"
        " similarity_type = 'spelling' WHERE name = 'Topic 1'",
    )
    with living(module_database, tmp_path_factory.mktemp("home")) as started:
        yield started


def violations(page: Page, within: str | None = None) -> list[str]:
    """The violations that axe-core reports, with their elements.

    Inside a dialog, colours are not checked, because axe takes the backdrop for their background. The page has the same
    buttons.
    """
    page.wait_for_timeout(400)  # colours fade in
    rules = RULES | ({"rules": {"color-contrast": {"enabled": False}}} if within else {})
    rules_violated = Axe().run(page, context=within, options=rules).response["violations"]
    return [
        f"{one['id']}: {node['html'][:200]} {node['failureSummary']}" for one in rules_violated for node in one["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1_300, 380])
def test_the_review_page_has_no_barrier(served: Living, browser: Browser, scheme: str, width: int) -> None:
    viewport = {"width": width, "height": 900}
    page = signed_in(
        visitor(browser, served, color_scheme=scheme, viewport=viewport, tour_seen=False), served, user="2"
    )
    expect(page.get_by_role("dialog")).to_be_visible()
    assert violations(page) == []
    page.keyboard.press("Escape")
    for key in ("e", "r", "m"):
        page.keyboard.press(key)
        expect(page.locator(".panel, .edit")).to_be_visible()
        assert violations(page) == []
        page.keyboard.press("Escape")
        expect(page.locator(".panel, .edit")).to_have_count(0)
    page.get_by_role("button", name="Filters").click()
    expect(page.get_by_label("Confidence", exact=True).first).to_be_visible()
    page.keyboard.press("x")
    page.locator("body").click(position={"x": 2, "y": 400})
    assert violations(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_dialogs_and_the_history_have_no_barrier(served: Living, browser: Browser, scheme: str) -> None:
    page = signed_in(visitor(browser, served, color_scheme=scheme), served, user="2")
    page.keyboard.press("?")
    expect(page.get_by_role("heading", name="Keys")).to_be_visible()
    assert violations(page, ".q-dialog") == []
    page.get_by_role("button", name="Close").click()
    expect(page.get_by_role("heading", name="Keys")).to_have_count(0)
    page.keyboard.press("x")
    expect(page.get_by_text("1 selected")).to_be_visible()
    page.keyboard.press("b")
    expect(page.get_by_role("button", name="Approve 1")).to_be_visible()
    assert violations(page, ".q-dialog") == []
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("button", name="Approve 1")).to_have_count(0)
    page.keyboard.press("h")
    expect(page.get_by_label("Decided by")).to_be_visible()
    assert violations(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_sign_in_has_no_barrier(served: Living, browser: Browser, scheme: str) -> None:
    page = visitor(browser, served, color_scheme=scheme).new_page()
    page.goto(f"{served.url}/sign-in?problem=user")

    assert violations(page) == []


def test_the_page_is_found_by_its_landmarks(served: Living, browser: Browser) -> None:
    page = signed_in(visitor(browser, served), served, user="2")

    for role, name in (
        ("banner", None),
        ("navigation", "Pages"),
        ("main", None),
        ("search", "Filters"),
        ("toolbar", "Decide"),
    ):
        expect(page.get_by_role(role, name=name) if name else page.get_by_role(role)).to_have_count(1)  # type: ignore[arg-type]
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    press(page, "j", "Topic 2")
