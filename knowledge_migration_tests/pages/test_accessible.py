"""axe-core over every page and state, in light and dark: WCAG 2.1 A and AA."""

import pytest
from playwright.sync_api import Browser, expect

from knowledge_migration_tests.chromium import needs_chromium
from knowledge_migration_tests.pages.accessibility import dialog_violations, violations
from knowledge_migration_tests.pages.living import REVIEWER_TOKEN, Living
from knowledge_migration_tests.pages.reviewing import begun, change, press, signed_in, visitor

pytestmark = [pytest.mark.browser, needs_chromium]


@pytest.fixture(scope="module")
def served(pages_service: Living) -> Living:
    """The service with pending proposals, one of them similar to a row."""
    begun(pages_service)
    change(
        pages_service.database,
        "INSERT INTO topics (name, description) VALUES ('Topic 1 of old', 'What topic 1 was about.');"
        "UPDATE topic_proposals SET similar_topic_id = (SELECT id FROM topics), similarity_score = 0.87,"
        " similarity_type = 'spelling' WHERE name = 'Topic 1'",
    )
    return pages_service


@pytest.mark.parametrize(("scheme", "width"), [("light", 1_300), ("dark", 380)])
def test_the_review_page_has_no_barrier(served: Living, browser: Browser, scheme: str, width: int) -> None:
    viewport = {"width": width, "height": 900}
    page = signed_in(
        visitor(browser, served, color_scheme=scheme, viewport=viewport, tour_seen=False),
        served,
        REVIEWER_TOKEN,
        user="2",
    )
    expect(page.get_by_role("dialog")).to_be_visible()
    assert violations(page) == []
    page.keyboard.press("Escape")
    for key in ("e", "r", "m"):
        page.keyboard.press(key)
        expect(page.locator(".panel, .edit")).to_be_visible()
        assert violations(page, ".panel, .edit") == []
        page.keyboard.press("Escape")
        expect(page.locator(".panel, .edit")).to_have_count(0)
    if width < 960:
        page.get_by_role("button", name="Queue", exact=True).click()
    page.get_by_role("button", name="Filters").click()
    expect(page.get_by_label("Confidence", exact=True).first).to_be_visible()
    page.keyboard.press("x")
    page.locator("body").click(position={"x": 2, "y": 400})
    assert violations(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_dialogs_and_the_history_have_no_barrier(served: Living, browser: Browser, scheme: str) -> None:
    page = signed_in(visitor(browser, served, color_scheme=scheme), served, REVIEWER_TOKEN, user="2")
    page.keyboard.press("?")
    expect(page.get_by_role("heading", name="Keys")).to_be_visible()
    assert dialog_violations(page) == []
    page.get_by_role("button", name="Close").click()
    expect(page.get_by_role("heading", name="Keys")).to_have_count(0)
    page.keyboard.press("x")
    expect(page.get_by_text("1 selected")).to_be_visible()
    page.keyboard.press("b")
    expect(page.get_by_role("button", name="Approve 1")).to_be_visible()
    assert dialog_violations(page) == []
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
    page = signed_in(visitor(browser, served), served, REVIEWER_TOKEN, user="2")

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
