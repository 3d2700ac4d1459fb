"""Fast, interrupted and concurrent reviewers in a real browser: no typed text is lost, nothing unseen is decided."""

import json
import re

import pytest
from playwright.sync_api import Browser, Page, expect

from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.pages.review.forms import LONGEST_TYPED
from knowledge_migration_tests.chromium import needs_chromium
from knowledge_migration_tests.pages.living import REVIEWER_TOKEN, Living
from knowledge_migration_tests.pages.reviewing import begun, change, edit, press, ready, rows, signed_in, visitor
from knowledge_migration_tests.support.unreachable import away

pytestmark = [pytest.mark.browser, needs_chromium]

STATES = "SELECT name, status, review_notes AS notes FROM topic_proposals ORDER BY confidence DESC"


@pytest.fixture
def served(pages_service: Living) -> Living:
    """The service with twelve pending topics and three pending atoms."""
    return begun(pages_service)


def decided(served: Living) -> dict[str, str]:
    """The status of each decided proposal, by name."""
    return {row["name"]: row["status"] for row in rows(served.database, STATES) if row["status"] != "pending"}


def row_of(page: Page, name: str) -> None:
    """Opens a proposal from the list."""
    page.locator(".row-button").filter(has=page.locator(".row-label", has_text=re.compile(f"^{name}$"))).click()
    expect(page.locator("#proposal-heading")).to_have_text(name)


def test_typed_text_is_restored_after_another_proposal_was_open(served: Living, browser: Browser) -> None:
    page = signed_in(visitor(browser, served), served, REVIEWER_TOKEN, "2")
    page.keyboard.press("r")
    page.get_by_label("Reason", exact=True).press_sequentially("It says nothing new")
    row_of(page, "Topic 3")
    edit(page)
    page.get_by_label("Description").fill("A better text.")
    row_of(page, "Topic 1")
    page.keyboard.press("r")
    expect(page.get_by_label("Reason", exact=True)).to_have_value("It says nothing new")
    row_of(page, "Topic 3")
    edit(page)
    expect(page.get_by_label("Description")).to_have_value("A better text.")


def test_an_open_edit_is_kept_when_another_reviewer_decides(served: Living, browser: Browser) -> None:
    page = signed_in(visitor(browser, served), served, REVIEWER_TOKEN, "2")
    edit(page)
    page.get_by_label("Description").press_sequentially(" And more.")
    change(
        served.database,
        "UPDATE topic_proposals SET status = 'rejected', review_action = 'reject' WHERE name = 'Topic 1'",
    )
    expect(page.get_by_role("alert")).to_contain_text("Another reviewer decided first.")
    expect(page.get_by_label("Description")).to_have_value("What topic 1 is about. And more.")
    page.get_by_label("Description").press("Escape")
    expect(page.get_by_label("Description")).to_have_count(0)
    press(page, "s", "Topic 2")
    expect(page.get_by_role("alert")).to_be_empty()


def test_a_double_click_decides_about_one_proposal(served: Living, browser: Browser) -> None:
    page = signed_in(visitor(browser, served), served, REVIEWER_TOKEN, "2")
    page.get_by_role("button", name="Approve").dblclick(delay=30)
    expect(page.locator("#proposal-heading")).to_have_text("Topic 2")
    page.get_by_role("button", name="Skip").hover()
    box = page.get_by_role("button", name="Approve").bounding_box()
    assert box
    x, y = box["x"] + 8, box["y"] + 8
    page.mouse.move(x, y)
    page.mouse.down(click_count=1)
    page.mouse.up(click_count=1)
    expect(page.locator("#proposal-heading")).to_have_text("Topic 3")
    page.mouse.down(click_count=2)
    page.mouse.up(click_count=2)
    press(page, "s", "Topic 4")
    assert decided(served) == {"Topic 1": "approved", "Topic 2": "approved"}


def test_undo_keeps_a_later_decision_of_another_reviewer(served: Living, browser: Browser) -> None:
    anna = signed_in(visitor(browser, served), served, REVIEWER_TOKEN, "1")
    ben = signed_in(visitor(browser, served), served, REVIEWER_TOKEN, "2")
    anna.keyboard.press("r")
    anna.get_by_label("Reason", exact=True).fill("Wrong")
    press(anna, "Enter", "Topic 2")
    expect(ben.get_by_role("alert")).to_contain_text("Another reviewer decided first.")
    ben.keyboard.press("h")
    ben.get_by_role("button", name="Undo").click()
    expect(ben.get_by_role("listitem").filter(has_text="topic · undone · user 2")).to_have_count(1)
    ben.keyboard.press("h")
    expect(ben.get_by_role("button", name="Approve")).to_be_visible()
    press(ben, "a", "Topic 2")
    assert decided(served) == {"Topic 1": "approved"}

    anna.keyboard.press("u")
    expect(anna.get_by_role("alert")).to_contain_text("decided about since")
    assert decided(served) == {"Topic 1": "approved"}


def test_keys_typed_during_a_reload_decide_nothing(served: Living, browser: Browser) -> None:
    page = signed_in(visitor(browser, served), served, REVIEWER_TOKEN, "2")
    page.keyboard.press("r")
    page.get_by_label("Reason", exact=True).press_sequentially("W")
    page.evaluate("window.before = true")
    page.reload(wait_until="commit")
    for _ in range(60):
        page.keyboard.press("a")
        if page.locator("#reason").count() and page.evaluate("document.activeElement?.id === 'reason'"):
            break
    expect(page.get_by_label("Reason", exact=True)).to_have_value(re.compile("^Wa*$"))
    assert decided(served) == {}


def test_a_bulk_action_reports_each_result_when_the_database_becomes_unreachable(
    served: Living, browser: Browser, server: EmbeddedServer
) -> None:
    page = signed_in(visitor(browser, served), served, REVIEWER_TOKEN, "2")
    for number in (1, 2, 3):
        page.get_by_label(f"Select Topic {number}", exact=True).click()
    page.locator("#proposal-heading").click()
    page.keyboard.press("b")
    forecast = page.get_by_role("dialog")
    forecast.get_by_label("Reason").fill("All wrong")
    with away(server, served.database):
        forecast.get_by_role("button", name="Reject 3").click()
        expect(forecast).to_contain_text("0 decided; 3 not decided:")
    expect(forecast.get_by_label("Reason")).to_have_value("All wrong")
    forecast.get_by_role("button", name="Close").click()
    expect(forecast).to_have_count(0)
    assert decided(served) == {}


def test_signing_out_in_one_tab_ends_the_others(served: Living, browser: Browser) -> None:
    context = visitor(browser, served)
    first = signed_in(context, served, REVIEWER_TOKEN, "2")
    second = signed_in(context, served)
    second.get_by_role("button", name="Sign out").click()
    expect(second.get_by_label("Token")).to_be_visible()
    expect(first.get_by_label("Token")).to_be_visible()


def test_chosen_options_survive_a_reload(served: Living, browser: Browser) -> None:
    page = signed_in(visitor(browser, served), served, REVIEWER_TOKEN, "2", "/review?kind=atom")
    edit(page)
    page.get_by_label("Type").click()
    page.get_by_role("option", name="problem").click()
    expect(page.get_by_label("Type")).to_have_value("problem")
    page.reload()
    ready(page)
    expect(page.get_by_label("Type")).to_have_value("problem")
    page.get_by_label("Title").press("Escape")
    expect(page.get_by_label("Title")).to_have_count(0)
    press(page, "s", "Atom 2")
    page.keyboard.press("r")
    page.get_by_role("button", name="Too vague").click()
    expect(page.get_by_label("Reason", exact=True)).to_have_value("Too vague")
    page.reload()
    ready(page)
    expect(page.get_by_label("Reason", exact=True)).to_have_value("Too vague")


INVALID_METAS = (
    "[" * 100_000,
    '{"a": "\\ud800"}',
    '{"a": "\\u0000"}',
    "[1]",
    "{",
    "NaN",
    '{"a": Infinity}',
    "1" * 5_000,
)


def test_invalid_meta_is_refused_with_a_message_and_kept(served: Living, browser: Browser) -> None:
    page = signed_in(visitor(browser, served), served, REVIEWER_TOKEN, "2", "/review?kind=atom")
    for meta in INVALID_METAS:
        edit(page)
        page.get_by_label("Meta").fill(meta)
        page.keyboard.press("Control+Enter")
        expect(page.get_by_role("alert"), meta[:9]).to_contain_text("meta")
        expect(page.get_by_label("Meta"), meta[:9]).to_have_value(meta)
        page.keyboard.press("Escape")
        expect(page.get_by_label("Meta")).to_have_count(0)
        expect(page.get_by_role("alert")).to_be_empty()
    assert rows(served.database, "SELECT id FROM atoms") == []


INPUT = """([id, text]) => {
    const field = document.getElementById(id);
    field.focus();
    field.value = JSON.parse(text);
    field.dispatchEvent(new Event('input', {bubbles: true}));
}"""


def test_a_nul_character_is_refused_with_a_message_and_kept(served: Living, browser: Browser) -> None:
    page = signed_in(visitor(browser, served), served, REVIEWER_TOKEN, "2")
    text = json.dumps("a \x00 of C")
    edit(page)
    expect(page.locator("#edit-description")).to_be_visible()
    page.evaluate(INPUT, ["edit-description", text])
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("description")
    page.keyboard.press("Escape")
    expect(page.locator("#edit-description")).to_have_count(0)
    press(page, "s", "Topic 2")
    page.keyboard.press("r")
    expect(page.locator("#reason")).to_be_visible()
    page.evaluate(INPUT, ["reason", text])
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("The reason must not hold a NUL character")
    assert decided(served) == {}


def test_an_unpaired_surrogate_does_not_block_the_rest_of_the_text(served: Living, browser: Browser) -> None:
    page = signed_in(visitor(browser, served), served, REVIEWER_TOKEN, "2")
    edit(page)
    expect(page.locator("#edit-description")).to_be_visible()
    page.evaluate(INPUT, ["edit-description", json.dumps("half \ud83e of a pair, a whole 🧪")])
    press(page, "Control+Enter", "Topic 2")
    assert rows(served.database, "SELECT description FROM topics") == [
        {"description": "half \ufffd of a pair, a whole 🧪"}
    ]


def test_a_very_long_text_is_accepted_or_refused_but_never_lost(served: Living, browser: Browser) -> None:
    page = signed_in(visitor(browser, served), served, REVIEWER_TOKEN, "2")
    too_long, longest, bidirectional = "x" * 1_500_000, "x" * 100_000, "\u05d0🧪" * 33_000
    edit(page)
    page.get_by_label("Description").fill(too_long)
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("100000")
    expect(page.get_by_label("Description")).to_have_value(too_long[:LONGEST_TYPED])
    page.get_by_label("Description").fill(longest)
    press(page, "Control+Enter", "Topic 2")
    edit(page)
    page.get_by_label("Description").fill(bidirectional)
    press(page, "Control+Enter", "Topic 3")
    assert rows(served.database, "SELECT description FROM topics ORDER BY id") == [
        {"description": longest},
        {"description": bidirectional},
    ]
