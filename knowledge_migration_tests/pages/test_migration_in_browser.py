"""The migration page as people use it, in a real browser against a real service."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration_tests.chromium import needs_chromium
from knowledge_migration_tests.pages.accessibility import dialog_violations, violations
from knowledge_migration_tests.pages.living import ADMIN_TOKEN, REVIEWER_TOKEN, Living, living
from knowledge_migration_tests.pages.reviewing import change, rows, signed_in, visitor
from knowledge_migration_tests.serving import PEOPLE_AND_MESSAGES
from knowledge_migration_tests.support.conditions import comes_true
from knowledge_migration_tests.support.emptying import delete_all_rows
from knowledge_migration_tests.support.unreachable import away

pytestmark = [pytest.mark.browser, needs_chromium]

LAST_ENTRY = "SELECT actor, action, reason FROM migration.audit_log WHERE action LIKE %s ORDER BY id DESC LIMIT 1"
EVERYBODY = {"knowledge_proposals_enabled": True, "knowledge_proposals_cutover_percentage": 100}


@pytest.fixture
def served(module_service: Living) -> Living:
    """The service with people and messages and nothing else; proposals are on for everybody."""
    delete_all_rows(module_service.database)
    change(module_service.database, PEOPLE_AND_MESSAGES)
    module_service.begin_test()
    set_flags(
        module_service, cutover_percentage=0
    )  # the flags stay when all rows are deleted, and their audit entries do not
    set_flags(module_service, **EVERYBODY)
    return module_service


def set_flags(served: Living, **flags: object) -> int:
    """As an admin does through the API; returns the version."""
    answer = httpx.post(
        f"{served.url}/api/v1/admin/config",
        json={"flags": flags, "reason": "a test"},
        headers={"authorization": f"Bearer {ADMIN_TOKEN}"},
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    version: int = httpx.get(f"{served.url}/health", timeout=30).json()["flag_version"]
    return version


def flags_now(served: Living) -> str:
    """The state that the service obeys."""
    state: str = httpx.get(f"{served.url}/health", timeout=30).json()["state"]
    return state


def opened(browser: Browser, served: Living, token: str = ADMIN_TOKEN, user: str = "3") -> Page:
    """The page of somebody, live."""
    page = signed_in(visitor(browser, served), served, token, user, path="/migration")
    expect(page.locator("#freshness")).to_have_text("Live: this page updates automatically.")
    page.evaluate("window.before = true")
    return page


def last_entry(served: Living, action: str) -> tuple[str, str, str]:
    """The newest entry of the audit log of an action."""
    with served.database.connect("test") as connection:
        row = connection.execute(LAST_ENTRY, (action,)).fetchone()
    assert row
    return row["actor"], row["action"], row["reason"]


@dataclass
class Traffic:
    """What users asked for all the while."""

    answered: list[int] = field(default_factory=list)
    unaccounted: list[str] = field(default_factory=list)
    pause: threading.Event = field(default_factory=threading.Event)

    def wait_for(self, more: int) -> None:
        """Returns when so many more requests have been answered."""
        until = len(self.answered) + more
        for _ in range(3_000):
            if len(self.answered) >= until:
                return
            self.pause.wait(0.01)
        raise AssertionError("the service does not answer the users")


@contextmanager
def traffic(served: Living) -> Iterator[Traffic]:
    """Users extract from messages, one after the other in two threads, while the block runs."""
    seen, stop = Traffic(), threading.Event()

    def extract(first: int) -> None:
        headers = {"authorization": f"Bearer {REVIEWER_TOKEN}"}
        with httpx.Client(base_url=served.url, headers=headers, timeout=60) as client:
            number = first
            while not stop.is_set():
                number = number % 200 + 1
                body = {"message_ids": [number], "user_id": 1 + number % 20}
                answer = client.post("/api/v1/knowledge/extract", json=body)
                seen.answered.append(answer.status_code)
                if answer.status_code == 200:
                    found = answer.json()
                    if not any(found[name] for name in found if name.endswith("_ids")) and number % 3 != 2:
                        seen.unaccounted.append(answer.text)

    threads = [threading.Thread(target=extract, args=(first,)) for first in (0, 100)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)


@pytest.mark.parametrize(
    ("way", "state", "shown"),
    [("instant", "dual_write", "and a proposal beside it"), ("partial", "rollout", "10 % of everyone")],
)
def test_the_rollback_works_under_traffic_and_its_effect_is_shown(
    served: Living, browser: Browser, way: str, state: str, shown: str
) -> None:
    page = opened(browser, served)
    with traffic(served) as users:
        users.wait_for(4)
        page.locator(f"#open-{way}").click()
        expect(page.locator(f"#rollback-{way}-plan")).to_contain_text("acknowledges within 2 seconds")
        page.get_by_label("Reason (recorded in the audit log)").fill("errors in proposal mode")
        page.locator(f"#rollback-{way}-confirm").click()
        expect(page.locator(f"#rollback-{way}-acknowledgements")).to_contain_text(
            "1 of 1 live processes have acknowledged"
        )
        expect(page.locator("#flags")).to_contain_text(shown)
        users.wait_for(4)

    assert set(users.answered) == {200}
    assert users.unaccounted == []
    assert flags_now(served) == state
    actor, action, reason = last_entry(served, "rollback%")
    assert (action, reason) == (f"rollback {way}", "errors in proposal mode")
    assert actor == "admin on the page, user 3"
    assert page.evaluate("window.before")


def test_proposals_stranded_by_the_rollback_are_replayed_or_parked(served: Living, browser: Browser) -> None:
    page = opened(browser, served)
    with traffic(served) as users:
        users.wait_for(8)
    waiting = "SELECT count(*) AS n FROM topic_proposals WHERE status = 'pending'"
    assert rows(served.database, waiting)[0]["n"] > 0
    page.locator("#open-instant").click()
    page.get_by_label("Reason (recorded in the audit log)").fill("enough")
    page.locator("#rollback-instant-confirm").click()
    expect(page.locator("#rollback-instant-result")).to_contain_text("stranded")
    page.locator("#rollback-instant-close").click()

    comes_true(lambda: rows(served.database, waiting)[0]["n"] == 0)
    expect(page.locator("#queue-limit")).to_have_text(re.compile("^0 of at most"))


def test_no_way_back_without_a_reason_or_on_flags_that_somebody_has_changed(served: Living, browser: Browser) -> None:
    page = opened(browser, served)
    page.locator("#open-instant").click()
    page.locator("#rollback-instant-confirm").click()
    expect(page.locator("#rollback-instant-problem")).to_contain_text("Give a reason")
    page.get_by_label("Reason (recorded in the audit log)").fill("too many errors")
    version = set_flags(served, knowledge_proposals_cutover_percentage=50)
    page.locator("#rollback-instant-confirm").click()
    expect(page.locator("#rollback-instant-problem")).to_contain_text("somebody changed them")
    expect(page.get_by_label("Reason (recorded in the audit log)")).to_have_value("too many errors")
    assert flags_now(served) != "dual_write"

    page.locator("#rollback-instant-again").click()
    expect(page.locator("#rollback-instant-plan")).to_contain_text(f"version {version}")
    page.locator("#rollback-instant-confirm").click()
    expect(page.locator("#rollback-instant-result")).to_contain_text("Done.")
    assert flags_now(served) == "dual_write"


def test_what_one_does_the_other_sees_without_a_reload(served: Living, browser: Browser) -> None:
    one, other = opened(browser, served), opened(browser, served, user="4")
    one.locator("#backfill-pause").click()
    expect(other.locator("#backfill-now")).to_contain_text("Paused")
    one.get_by_label("Rows per batch").fill("250")
    one.get_by_label("Batches per second").fill("5")
    one.get_by_label("Reason (optional)").fill("less load")
    one.locator("#backfill-set").click()
    expect(other.locator("#backfill-now")).to_contain_text(
        "at most 250 rows per batch, automatic speed, at most 5 batches per second"
    )
    expect(other.locator("#audit-table")).to_contain_text("less load")
    set_flags(served, knowledge_proposals_cutover_percentage=30)
    expect(other.locator("#flags")).to_contain_text("30 % of everyone")
    change(
        served.database,
        "INSERT INTO migration.audit_log (actor, action, subject, dagster_run_id) VALUES ('ada', 'drill', 'a clone', 'run-7')",
    )
    expect(other.get_by_role("link", name="Run in Dagster")).to_have_attribute(
        "href", "https://dagster.example/runs/run-7"
    )
    expect(other.locator("#audit-table")).to_contain_text("user 3 (admin on the page)")
    change(
        served.database,
        "INSERT INTO knowledge_extraction_runs (id, message_ids, message_count) VALUES (gen_random_uuid(), '[]', 0);"
        "INSERT INTO topic_proposals (extraction_run_id, name, description, confidence)"
        " SELECT id, 'new', 'd', 0.8 FROM knowledge_extraction_runs LIMIT 1",
    )
    expect(other.locator("#queue-limit")).to_have_text(re.compile("^1 of at most"))
    assert other.evaluate("window.before")
    assert last_entry(served, "set backfill control") == (
        "admin on the page, user 3",
        "set backfill control",
        "less load",
    )


def test_a_pace_that_cannot_be_is_refused_in_words(served: Living, browser: Browser) -> None:
    page = opened(browser, served)
    page.get_by_label("Rows per batch").fill("60000")
    page.locator("#backfill-set").click()
    expect(page.locator("#backfill-problem")).to_contain_text("1 to 50,000 rows")
    expect(page.get_by_label("Rows per batch")).to_have_value("60000")


def test_a_reviewer_sees_everything_and_can_change_nothing(served: Living, browser: Browser) -> None:
    page = opened(browser, served, REVIEWER_TOKEN)
    expect(page.locator("#stage-full_cutover")).to_contain_text("done")
    expect(page.locator("#trends")).to_contain_text("Error rate")
    for part in ("phases", "trends", "flags", "queue", "processes", "gates", "checks", "evidence", "audit", "backfill"):
        expect(page.locator(f"#{part}")).to_be_visible()
    for action in ("open-promote", "open-pause", "open-instant", "open-partial", "backfill-pause", "backfill-set"):
        expect(page.locator(f"#{action}")).to_have_count(0)


def test_a_promotion_shows_what_is_missing_and_cannot_be_launched_without_it(served: Living, browser: Browser) -> None:
    page = opened(browser, served)
    expect(page.locator("#open-promote")).to_be_hidden()  # all users have proposals
    set_flags(served, knowledge_proposals_cutover_percentage=50)
    page.get_by_role("button", name="Promote to full cutover…").click()
    expect(page.locator("#promote-plan")).to_contain_text("requirements are missing")
    expect(page.locator("#promote-plan")).to_contain_text("bake time")
    expect(page.locator("#promote-confirm")).to_be_disabled()
    assert dialog_violations(page) == []
    page.keyboard.press("Escape")
    expect(page.locator("#promote-plan")).to_be_hidden()
    expect(page.locator("#stage-gradual_rollout")).to_contain_text("Bake time: 23 hours of 1 day left")

    page.get_by_role("button", name="Pause the rollout…").click()
    page.locator("#pause-confirm").click()
    expect(page.locator("#pause-problem")).to_contain_text("Give a reason")
    page.locator("#pause").get_by_label("Reason (recorded in the audit log)").fill("an incident")
    page.locator("#pause-confirm").click()
    expect(page.locator("#rollout-paused")).to_contain_text("is paused by user 3 (admin on the page) since")
    page.get_by_role("button", name="Promote to full cutover…").click()
    expect(page.locator("#promote-plan")).to_contain_text("not paused")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Resume the rollout…").click()
    page.locator("#pause").get_by_label("Reason (recorded in the audit log)").fill("it is over")
    page.locator("#pause-confirm").click()
    expect(page.locator("#rollout-paused")).to_have_count(0)
    assert last_entry(served, "resume rollout") == ("admin on the page, user 3", "resume rollout", "it is over")


def test_the_page_comes_back_after_a_restart_of_the_service(served: Living, browser: Browser) -> None:
    page = opened(browser, served)
    served.stop()
    expect(page.get_by_text("Connection lost")).to_be_visible()
    served.start()
    page.wait_for_function("!window.before")
    expect(page.locator("#freshness")).to_have_text("Live: this page updates automatically.")
    set_flags(served, knowledge_proposals_cutover_percentage=70)
    expect(page.locator("#flags")).to_contain_text("70 % of everyone")


def test_a_session_of_another_token_leads_to_the_sign_in(served: Living, browser: Browser) -> None:
    page = opened(browser, served)
    served.stop()
    served.environment["KNOWLEDGE_API_ADMIN_TOKEN"] = "another-token-of-the-tests"
    served.start()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_database_that_is_away_is_told_and_the_last_state_stays(
    served: Living, browser: Browser, server: EmbeddedServer
) -> None:
    page = opened(browser, served)
    with away(server, served.database):
        expect(page.locator("#stale")).to_contain_text("not up to date since")
        expect(page.locator("#flags")).to_contain_text("100 % of everyone")
    expect(page.locator("#stale")).to_be_hidden()
    expect(page.locator("#freshness")).to_have_text("Live: this page updates automatically.")
    assert page.evaluate("window.before")


def test_before_phase_1_the_page_shows_the_state(database: Database, tmp_path: Path, browser: Browser) -> None:
    with living(database, tmp_path) as served:
        page = signed_in(visitor(browser, served), served, path="/migration")
        expect(page.locator("#phase-1")).to_contain_text("not begun")
        expect(page.locator("#freshness")).to_have_text("Live: this page updates automatically.")


@pytest.mark.parametrize(("scheme", "width"), [("light", 380), ("dark", 1_300)])
def test_the_page_has_no_barrier_and_fits_a_telephone(
    served: Living, browser: Browser, scheme: str, width: int
) -> None:
    context = visitor(browser, served, color_scheme=scheme, viewport={"width": width, "height": 900})
    page = signed_in(context, served, ADMIN_TOKEN, path="/migration")
    expect(page.locator("#freshness")).to_have_text("Live: this page updates automatically.")
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    page.locator("#open-instant").click()
    expect(page.locator("#rollback-instant-plan")).to_contain_text("within 2 seconds")
    assert dialog_violations(page) == []
    page.keyboard.press("Escape")
    expect(page.locator("#rollback-instant-plan")).to_be_hidden()
