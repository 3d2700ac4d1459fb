"""The review page as people use it, in a real browser against a real service."""

import pytest
from playwright.sync_api import Browser, Page, expect

from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration_tests.chromium import needs_chromium
from knowledge_migration_tests.pages.living import REVIEWER_TOKEN, Living
from knowledge_migration_tests.pages.reviewing import (
    begun,
    change,
    edit,
    heading,
    opened,
    press,
    ready,
    rows,
    signed_in,
    visitor,
)
from knowledge_migration_tests.pages.waiting import waiting_proposals
from knowledge_migration_tests.support.emptying import delete_all_rows
from knowledge_migration_tests.support.unreachable import away

pytestmark = [pytest.mark.browser, needs_chromium]

BELOW_THE_HEADER = """selector => document.querySelector(selector).getBoundingClientRect().top
    >= document.querySelector("header.bar").getBoundingClientRect().bottom"""

UNCOVERED = """selector => {
    const [part, tour] = [selector, "#tour"].map(one => document.querySelector(one).getBoundingClientRect());
    return part.top < tour.top || part.top >= tour.bottom || part.left < tour.left;
}"""

STATES = "SELECT name, status, review_notes, reviewed_by_user_id AS who FROM topic_proposals ORDER BY confidence DESC"


@pytest.fixture
def served(pages_service: Living) -> Living:
    """The service with twelve pending topics, one of them similar to a row, and three pending atoms."""
    begun(pages_service)
    change(
        pages_service.database,
        "INSERT INTO topics (name, description) VALUES ('Topic 4 of old', 'What topic 4 was about.');"
        "UPDATE topic_proposals SET similar_topic_id = (SELECT id FROM topics), similarity_score = 0.87,"
        " similarity_type = 'spelling' WHERE name = 'Topic 4'",
    )
    return pages_service


def id_of_topic(served: Living, name: str) -> int:
    """The id of a topic by name."""
    (topic,) = rows(served.database, f"SELECT id FROM topics WHERE name = '{name}'")  # noqa: S608
    topic_id: int = topic["id"]
    return topic_id


def test_ten_proposals_are_reviewed_with_the_keyboard_alone(served: Living, browser: Browser) -> None:
    context = visitor(browser, served)
    page = context.new_page()
    page.goto(f"{served.url}/review")
    expect(page.get_by_label("Token")).to_be_focused()
    page.keyboard.type(REVIEWER_TOKEN)
    page.keyboard.press("Tab")
    page.keyboard.type("3")
    page.keyboard.press("Enter")
    ready(page)
    assert heading(page) == "Topic 1"

    press(page, "a", "Topic 2")
    edit(page)
    expect(page.get_by_label("Name")).to_be_focused()
    page.keyboard.press("End")
    page.keyboard.type(", corrected")
    press(page, "Control+Enter", "Topic 3")
    page.keyboard.press("r")
    expect(page.get_by_label("Reason", exact=True)).to_be_focused()
    page.keyboard.type("Too vague")
    press(page, "Enter", "Topic 4")
    expect(
        page.get_by_role("heading", name=f"Similar to topic {id_of_topic(served, 'Topic 4 of old')}, 87 %")
    ).to_be_visible()
    page.keyboard.press("m")
    expect(page.get_by_label("Name or number of the topic")).to_be_focused()
    press(page, "Enter", "Topic 5")
    press(page, "s", "Topic 6")
    for number in range(6, 10):
        press(page, "a", f"Topic {number + 1}")
    press(page, "u", "Topic 9")
    press(page, "a", "Topic 10")
    page.keyboard.press("r")
    page.keyboard.type("Wrong")
    press(page, "Enter", "Topic 11")

    states = {row["name"]: (row["status"], row["review_notes"], row["who"]) for row in rows(served.database, STATES)}
    assert states["Topic 1"] == ("approved", None, 3)
    assert states["Topic 2, corrected"] == ("approved", None, 3)
    assert states["Topic 3"] == ("rejected", "Too vague", 3)
    assert states["Topic 4"][0] == "merged"
    assert states["Topic 5"][0] == "pending"
    assert [states[f"Topic {number}"][0] for number in (6, 7, 8, 9)] == ["approved"] * 4
    assert states["Topic 10"] == ("rejected", "Wrong", 3)
    assert states["Topic 11"][0] == "pending"
    names = {row["name"] for row in rows(served.database, "SELECT name FROM topics")}
    assert names == {"Topic 4 of old", "Topic 1", "Topic 2, corrected", "Topic 6", "Topic 7", "Topic 8", "Topic 9"}
    expect(page.locator(".counts")).to_contain_text("3 topics, 3 atoms")


def test_the_second_of_two_reviewers_sees_the_first_decision_and_keeps_the_typed_text(
    served: Living, browser: Browser
) -> None:
    anna = signed_in(visitor(browser, served), served, REVIEWER_TOKEN, "1")
    ben = signed_in(visitor(browser, served), served, REVIEWER_TOKEN, "2")
    ben.keyboard.press("r")
    ben.get_by_label("Reason", exact=True).fill("I think it is wrong")

    press(anna, "a", "Topic 2")
    ben.get_by_label("Reason", exact=True).press("Enter")

    expect(ben.get_by_role("alert")).to_contain_text("Another reviewer decided first. user 1: approved")
    expect(ben.get_by_label("Reason", exact=True)).to_have_value("I think it is wrong")
    assert heading(ben) == "Topic 1"
    (first, *_) = rows(served.database, STATES)
    assert (first["status"], first["review_notes"], first["who"]) == ("approved", None, 1)
    ben.keyboard.press("Escape")
    expect(ben.get_by_label("Reason", exact=True)).to_have_count(0)
    expect(ben.get_by_text("Decided by a person")).to_be_visible()
    press(ben, "s", "Topic 2")


def test_a_reviewer_who_only_reads_also_sees_that_another_one_decided(served: Living, browser: Browser) -> None:
    ben = signed_in(visitor(browser, served), served, REVIEWER_TOKEN, "2")
    anna = signed_in(visitor(browser, served), served, REVIEWER_TOKEN, "1")
    anna.keyboard.press("r")
    anna.get_by_label("Reason", exact=True).fill("Already known")
    press(anna, "Enter", "Topic 2")

    expect(ben.get_by_role("alert")).to_contain_text("user 1: rejected")
    expect(ben.get_by_text("“Already known”")).to_be_visible()
    ben.keyboard.press("a")  # nothing is left to decide here
    expect(ben.locator("#proposal-heading")).to_have_text("Topic 1")
    assert rows(served.database, STATES)[0]["status"] == "rejected"


def test_typed_text_survives_a_restart_of_the_service(served: Living, browser: Browser) -> None:
    page = signed_in(visitor(browser, served), served, REVIEWER_TOKEN, "2")
    press(page, "s", "Topic 2")
    page.keyboard.press("r")
    page.get_by_label("Reason", exact=True).press_sequentially("Out of date since the release")

    page.evaluate("window.before = true")
    served.stop()
    expect(page.get_by_text("Connection lost")).to_be_visible()
    served.start()
    page.wait_for_function("!window.before && window.pages?.listening")

    expect(page.get_by_label("Reason", exact=True)).to_have_value("Out of date since the release")
    assert heading(page) == "Topic 2"
    page.get_by_label("Reason", exact=True).press("Enter")
    expect(page.locator("#proposal-heading")).to_have_text("Topic 3")
    assert rows(served.database, STATES)[1]["review_notes"] == "Out of date since the release"


def test_typed_text_survives_an_unreachable_database(served: Living, browser: Browser, server: EmbeddedServer) -> None:
    page = signed_in(visitor(browser, served), served, REVIEWER_TOKEN, "2")
    edit(page)
    page.get_by_label("Description").fill("A better description.")
    with away(server, served.database):
        page.keyboard.press("Control+Enter")
        expect(page.get_by_role("alert")).to_contain_text("The database does not answer")
        expect(page.get_by_label("Description")).to_have_value("A better description.")

    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#proposal-heading")).to_have_text("Topic 2")
    assert rows(served.database, "SELECT description FROM topics WHERE name = 'Topic 1'") == [
        {"description": "A better description."}
    ]


def test_a_merge_finds_the_existing_row_by_its_name(served: Living, browser: Browser) -> None:
    change(served.database, "INSERT INTO topics (name, description) VALUES ('Backups', ''), ('Backup of 100 %', '')")
    page = signed_in(visitor(browser, served), served, REVIEWER_TOKEN, "2")
    page.keyboard.press("m")
    target = page.get_by_label("Name or number of the topic")
    target.fill("backup")
    matches = page.get_by_role("list", name="Existing topics of this name").get_by_role("listitem")
    expect(matches).to_contain_text(["Backups", "Backup of 100 %"])
    target.press("Enter")
    expect(page.locator(".panel")).to_contain_text("Choose an existing topic from the list")
    matches.nth(0).get_by_role("button").click()
    expect(page.locator("#merge-chosen")).to_have_text(f"{id_of_topic(served, 'Backups')}: Backups")
    target.fill("100 %")
    expect(matches).to_contain_text(["Backup of 100 %"])
    target.press("Enter")  # chooses the only match
    chosen = id_of_topic(served, "Backup of 100 %")
    expect(page.locator("#merge-chosen")).to_have_text(f"{chosen}: Backup of 100 %")
    press(page, "Enter", "Topic 2")
    (merged, *_) = rows(served.database, "SELECT status, similar_topic_id FROM topic_proposals WHERE name = 'Topic 1'")
    assert merged == {"status": "merged", "similar_topic_id": chosen}


def test_the_tour_is_shown_once_and_on_request(served: Living, browser: Browser) -> None:
    change(served.database, "UPDATE messages SET content = repeat('A long message. ', 120) WHERE id = 1")
    context = visitor(browser, served, tour_seen=False)
    page = signed_in(context, served, REVIEWER_TOKEN, "2")
    tour = page.get_by_role("dialog")
    titles = ["Queue", "Proposal", "Confidence", "Source", "Decide"]
    page.set_viewport_size({"width": 1_300, "height": 500})
    for title in titles:
        expect(tour.get_by_role("heading")).to_have_text(title)
        expect(page.locator("#tour-next")).to_be_focused()
        assert page.evaluate(BELOW_THE_HEADER, ".highlight"), title
        assert page.evaluate(UNCOVERED, ".highlight"), title
        page.keyboard.press("Enter")
    expect(tour).to_have_count(0)
    page.wait_for_function("document.cookie.includes('.1.')")  # the preference arrives after the dialog has gone

    page.reload()
    ready(page)
    expect(page.locator("#proposal-heading")).to_be_visible()
    assert tour.count() == 0
    page.keyboard.press("t")
    expect(tour.get_by_role("heading")).to_have_text("Queue")
    page.keyboard.press("Escape")
    expect(tour).to_have_count(0)


def test_a_bulk_decision_shows_a_preview_of_its_effects_first(served: Living, browser: Browser) -> None:
    change(served.database, "INSERT INTO topics (name, description) VALUES ('Topic 2', 'It is there already.')")
    page = signed_in(visitor(browser, served), served, REVIEWER_TOKEN, "2")
    for number in (1, 2, 3):
        page.get_by_label(f"Select Topic {number}", exact=True).click()
    page.locator("#proposal-heading").click()
    page.keyboard.press("b")
    forecast = page.get_by_role("dialog")
    expect(forecast).to_contain_text("Approval:")
    page.keyboard.press("Escape")
    expect(forecast).to_have_count(0)
    page.keyboard.press("b")
    expect(forecast).to_contain_text("Approval: 2 new, 1 linked to an existing or another selected row.")
    expect(forecast).to_contain_text(
        f"Topic 2 (93 %) is linked to the existing topic {id_of_topic(served, 'Topic 2')}; no new row"
    )
    change(
        served.database,
        "UPDATE topic_proposals SET status = 'rejected', review_action = 'reject' WHERE name = 'Topic 3'",
    )
    forecast.get_by_role("button", name="Approve 3").click()

    expect(forecast).to_contain_text("2 decided; 1 not decided:")
    expect(forecast).to_contain_text("Topic 3")
    forecast.get_by_role("button", name="Close").click()
    expect(forecast).to_have_count(0)
    expect(page.locator("#proposal-heading")).to_have_text("Topic 4")
    assert [row["status"] for row in rows(served.database, STATES)][:3] == ["approved", "approved", "rejected"]
    page.keyboard.press("u")
    expect(page.locator(".counts")).to_contain_text("11 topics")  # the undone proposal waits again
    assert [row["status"] for row in rows(served.database, STATES)][:3] == ["pending", "pending", "rejected"]


def test_the_history_distinguishes_automatic_decisions_and_can_undo(served: Living, browser: Browser) -> None:
    change(
        served.database,
        "INSERT INTO migration.audit_log (actor, action, subject, before, after) "
        "SELECT 'auto-approval', 'auto_approve proposal', 'topic proposal ' || id, '{\"status\": \"pending\"}',"
        " '{\"status\": \"auto_approved\"}' FROM topic_proposals WHERE name = 'Topic 9';"
        "UPDATE topic_proposals SET status = 'auto_approved', review_action = 'auto_approve', reviewed_at = now() "
        "WHERE name = 'Topic 9'",
    )
    page = signed_in(visitor(browser, served), served, REVIEWER_TOKEN, "2")
    press(page, "a", "Topic 2")
    page.keyboard.press("h")
    decisions = page.get_by_role("list", name="Decisions, the newest first").get_by_role("listitem")
    expect(decisions).to_have_count(2)
    expect(decisions.first).to_contain_text("approved · user 2")
    expect(decisions.last).to_contain_text("approved automatically")
    assert "automatic" in (decisions.last.get_attribute("class") or "")
    assert "automatic" not in (decisions.first.get_attribute("class") or "")

    decisions.first.get_by_role("button", name="Undo").click()
    expect(decisions).to_have_count(3)
    expect(decisions.nth(1)).to_contain_text("undone")
    expect(decisions.nth(1).get_by_role("button", name="Undo")).to_have_count(0)
    page.keyboard.press("h")
    assert rows(served.database, "SELECT status FROM topic_proposals WHERE name = 'Topic 1'") == [{"status": "pending"}]


def test_filters_narrow_the_queue_and_are_part_of_the_address(served: Living, browser: Browser) -> None:
    page = signed_in(visitor(browser, served), served, REVIEWER_TOKEN)
    page.keyboard.press("/")
    expect(page.get_by_label("Search")).to_be_focused()
    page.keyboard.type("number 2.")
    expect(page.locator("#proposal-heading")).to_have_text("Atom 2")
    expect(page.locator(".counts")).to_contain_text("1 in total")
    assert "text=number+2" in page.url
    page.reload()
    ready(page)
    assert heading(page) == "Atom 2"
    page.goto(f"{served.url}/review?kind=topic&similar=yes")
    ready(page)
    assert heading(page) == "Topic 4"
    expect(page.locator(".counts")).to_have_text("1 topic")
    page.goto(f"{served.url}/review?text=nothing-is-called-that")
    ready(page)
    expect(page.get_by_role("heading", name="No proposal matches these filters")).to_be_visible()


def test_an_empty_queue_is_reported_and_fills_automatically(served: Living, browser: Browser) -> None:
    delete_all_rows(served.database)
    page = signed_in(visitor(browser, served), served, REVIEWER_TOKEN)
    expect(page.get_by_role("heading", name="No proposal is waiting for review")).to_be_visible()
    waiting_proposals(served.database, topics=1, atoms=0)
    expect(page.locator("#proposal-heading")).to_have_text("Topic 1")


def test_any_content_is_displayed_literally_and_never_executed(served: Living, browser: Browser) -> None:
    title = "<b>bold</b> <script>window.hacked = 1</script> **not bold** مرحبا 🧪"
    long = "https://example.org/" + "x" * 3_000 + " {{ 7 * 7 }} <img src=x onerror='window.hacked = 2'> שלום"
    with served.database.connect("test") as connection:
        connection.execute(
            "UPDATE atom_proposals SET title = %s, content = %s, reasoning = %s, confidence = 0.949 WHERE title = 'Atom 1'",
            (title, long, long),
        )
        connection.execute("UPDATE messages SET content = %s WHERE id = 1", (long,))
    for width in (1_300, 380):
        page = signed_in(visitor(browser, served, viewport={"width": width, "height": 800}), served, REVIEWER_TOKEN)
        assert heading(page) == title
        assert page.locator(".values .value").first.inner_text() == long
        assert page.evaluate("window.hacked") is None
        assert _fits(page)
        page.context.close()


def test_on_a_telephone_the_list_is_a_drawer_and_the_buttons_stay_in_view(served: Living, browser: Browser) -> None:
    telephone = visitor(browser, served, viewport={"width": 390, "height": 700})
    page = signed_in(telephone, served, REVIEWER_TOKEN, "2", path="/review?kind=atom")
    expect(page.locator("#queue")).to_be_hidden()
    expect(page.get_by_role("button", name="Approve")).to_be_in_viewport()
    page.locator("#origin").scroll_into_view_if_needed()
    expect(page.get_by_role("button", name="Approve")).to_be_in_viewport()
    page.get_by_role("button", name="Reject").click()
    expect(page.get_by_label("Reason", exact=True)).to_be_focused()
    expect(page.get_by_label("Reason", exact=True)).to_be_in_viewport(ratio=1)
    assert page.evaluate(BELOW_THE_HEADER, ".panel")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_label("Reason", exact=True)).to_have_count(0)
    page.locator("#origin").scroll_into_view_if_needed()
    page.get_by_role("button", name="Skip").click()
    expect(page.locator("#proposal-heading")).to_have_text("Atom 2")
    expect(page.locator("#proposal-heading")).to_be_in_viewport(ratio=1)
    press(page, "k", "Atom 1")
    expect(page.locator(".json pre")).to_be_hidden()
    page.locator(".json summary").click()
    expect(page.locator(".json pre")).to_contain_text('"part": 1')
    colours = page.evaluate(
        "['.confidence-band', '.meter'].map(selector => getComputedStyle(document.querySelector(selector)).color)"
    )
    assert colours[0] == colours[1]

    page.get_by_role("button", name="Queue", exact=True).click()
    expect(page.get_by_role("button", name="Close the queue")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#queue")).to_be_hidden()
    page.get_by_role("button", name="Queue", exact=True).click()
    page.locator(".row-button").nth(1).click()
    expect(page.locator("#proposal-heading")).to_have_text("Atom 2")
    expect(page.locator("#queue")).to_be_hidden()
    assert _fits(page)


def _fits(page: Page) -> bool:
    """Whether the page has no horizontal scroll bar."""
    fits: bool = page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    return fits


def test_single_key_shortcuts_can_be_disabled(served: Living, browser: Browser) -> None:
    context = visitor(browser, served)
    page = signed_in(context, served, REVIEWER_TOKEN)
    page.keyboard.press("?")
    page.get_by_role("switch", name="Enable single-key shortcuts").click()
    page.keyboard.press("Escape")
    expect(page.get_by_role("switch")).to_have_count(0)
    page.keyboard.press("a")
    page.reload()
    ready(page)
    page.keyboard.press("a")
    page.get_by_role("button", name="Skip").click()
    expect(page.locator("#proposal-heading")).to_have_text("Topic 2")
    assert {row["status"] for row in rows(served.database, STATES)} == {"pending"}


def test_a_hundred_thousand_proposals_are_counted_and_paged(served: Living, browser: Browser) -> None:
    change(
        served.database,
        "SET session_replication_role = replica;"  # no trigger checks the reference of each row
        "INSERT INTO topic_proposals (extraction_run_id, name, description, confidence) SELECT extraction_run_id, 'Many ' || n,"
        " 'One of many.', 0.5 - n * 0.000001 FROM (SELECT extraction_run_id FROM topic_proposals LIMIT 1) AS run,"
        " generate_series(1, 99985) AS n; ANALYZE topic_proposals",
    )
    page = signed_in(visitor(browser, served), served, REVIEWER_TOKEN)
    expect(page.locator(".counts")).to_have_text("100,000 in total: 99,997 topics, 3 atoms")
    for _ in range(3):
        page.get_by_role("button", name="Show more").click()
    expect(page.locator(".row-of-queue")).to_have_count(100)
    first = opened(page)
    page.keyboard.press("j")
    expect(page.locator("#proposal-heading")).to_have_text("Topic 2")
    assert opened(page) != first
