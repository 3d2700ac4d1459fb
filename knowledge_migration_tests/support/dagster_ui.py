"""Dagster's UI in a browser: what a person clicks."""

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from knowledge_migration_tests.support.webserver import Run, Webserver

PATIENCE_MS = 120_000
SETTLED_MS = 5_000
ATTEMPTS = 10
PICTURES = "TESTS_PICTURES"
"""The folder of the pictures for the documents; without this variable none is taken."""


@dataclass(frozen=True)
class DagsterUi:
    """A page of the UI of a running webserver."""

    page: Page
    webserver: Webserver

    @classmethod
    def opened(cls, browser: Browser, webserver: Webserver) -> "DagsterUi":
        """A new page, which closes the dialogs of a first visit."""
        page = browser.new_page(viewport={"width": 1500, "height": 900})
        page.set_default_timeout(PATIENCE_MS)
        page.add_locator_handler(page.get_by_role("button", name="Skip", exact=True), lambda button: button.click())
        return cls(page, webserver)

    def open(self, path: str) -> None:
        """Opens a page of the UI."""
        self.page.goto(f"{str(self.webserver.client.base_url).rstrip('/')}/{path}")

    def materialize(self, job: str, partition: str | None = None) -> Run:
        """Clicks "Materialize" or "Materialize all" on the page of a job, and returns the run after its end.

        For a partitioned job: selects the partition first, or all of them where it is "All".
        """
        before = self.webserver.run_ids(job)
        self.open(f"locations/knowledge_migration/jobs/{job}")
        self.page.get_by_role("button", name="Materialize").first.click()
        confirm, launched = self.page.get_by_role("button", name="Confirm"), self.page.get_by_text("Launched run")
        choice = self.page.get_by_role("button", name="Custom", exact=True)
        confirm.or_(choice).or_(launched).first.wait_for()
        if confirm.is_visible():
            confirm.click()
        if partition:
            choice.wait_for()
            self._choose(partition)
        return self.webserver.next_run(job, before)

    def launch(self, job: str) -> Run:
        """Launches a job from its launchpad with the defaults of its config."""
        before = self.webserver.run_ids(job)
        self.open(f"locations/knowledge_migration/jobs/{job}/playground")
        self.page.get_by_role("button", name="Launch Run").click()
        return self.webserver.next_run(job, before)

    def _choose(self, partition: str) -> None:
        launch = self.page.get_by_role("button", name=re.compile(r"Launch (1 run|backfill)"))
        for _ in range(ATTEMPTS):  # a list that is still loading may ignore a click
            if partition == "All":
                self.page.get_by_role("button", name="All", exact=True).click()
            else:
                self.page.get_by_text("Select a partition or create one").click()
                self.page.get_by_text(partition, exact=True).locator("visible=true").last.click()
                self.page.keyboard.press("Escape")
            with suppress(AssertionError):
                expect(launch).to_be_enabled(timeout=SETTLED_MS)
                break
        launch.click()

    def picture(self, name: str, seen: str) -> None:
        """Waits until this text is visible; takes the picture where a folder for pictures is named."""
        self.page.get_by_text(seen).locator("visible=true").first.wait_for()
        if folder := os.environ.get(PICTURES):
            self.page.wait_for_timeout(2_000)  # the layout of graphs and tables settles
            self.page.screenshot(path=Path(folder) / f"{name}.png")
