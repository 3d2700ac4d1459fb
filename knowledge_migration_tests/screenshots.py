"""Takes the screenshots of the README in headless Chromium, from the installation that the settings name.

Usage: make migrate, then make screenshots (or python -m knowledge_migration_tests.screenshots [--to docs]). Requires
Chromium; set CHROMIUM to its path if it is not detected. The report is written first.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from playwright.sync_api import Browser, Page
from rich.console import Console

from knowledge_migration.commands.status import screen
from knowledge_migration.commands.terminal import dagster_project, open_installation
from knowledge_migration.demo.live_application import free_port, wait_until_healthy
from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.audit import operator
from knowledge_migration.engine.status.snapshot import read_status
from knowledge_migration.pages.frame import PREFERENCES_COOKIE, Preferences
from knowledge_migration_tests.chromium import opened_browser
from knowledge_migration_tests.support.conditions import comes_true

GROUPS = ("preparation", "schema", "dual_write", "backfill", "cutover", "cleanup")
COMMAND = (sys.executable, "-m", "knowledge_migration.commands.main")
SETTLE_MS = 4_000
ATTEMPTS = 240


def main() -> None:
    """Takes all screenshots."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--to", type=Path, default=Path("docs"), help="folder of the screenshots")
    folder = arguments.parse_args().to
    with tempfile.TemporaryDirectory() as scratch, opened_browser() as browser:
        screenshots_of_pages(browser, folder, Path(scratch))
        page = browser.new_page(viewport={"width": 2300, "height": 1500})
        screenshot_of_report(page, folder, Path(scratch))
        screenshot_of_status(page, folder, Path(scratch))
        screenshot_of_documents(page, folder)
        with ui(Path(scratch)) as address:
            screenshot_of_dagster(page, folder, address)


@contextmanager
def ui(scratch: Path) -> Iterator[str]:
    """Dagster's UI on a free port, without its daemon, because sensors would change the displayed state."""
    port, project = free_port(), dagster_project()
    address = f"http://127.0.0.1:{port}"
    command = [str(Path(sys.executable).with_name("dagster-webserver")), "-h", "127.0.0.1", "-p", str(port)]
    with (scratch / "ui.log").open("wb") as log, ended(subprocess.Popen(command, cwd=project, stdout=log, stderr=log)):
        for _ in range(ATTEMPTS):
            with suppress(httpx.HTTPError):
                if httpx.get(f"{address}/server_info", timeout=5).status_code == 200:
                    break
            time.sleep(0.5)
        yield address


@contextmanager
def service(scratch: Path) -> Iterator[str]:
    """The knowledge service on a free port."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [*COMMAND, "serve", "--port", str(port)]
    with (scratch / "serve.log").open("wb") as log, ended(subprocess.Popen(command, stdout=log, stderr=log)):
        wait_until_healthy(address)
        yield address


def screenshots_of_pages(browser: Browser, folder: Path, scratch: Path) -> None:
    """The review page with a similar proposal, and the migration page."""
    with service(scratch) as address:
        context = browser.new_context(viewport={"width": 1300, "height": 1000}, color_scheme="light")
        preferences = Preferences(theme="light", tour_seen=True).as_cookie
        context.add_cookies([{"name": PREFERENCES_COOKIE, "value": preferences, "url": address}])
        page = context.new_page()
        for path, name in ((f"/review?proposal={similar_proposal(address)}", "review"), ("/migration", "migration")):
            page.goto(address + path)
            page.wait_for_timeout(SETTLE_MS)
            hide_this_machine(page)
            page.screenshot(path=folder / f"{name}.png")
        context.close()


def similar_proposal(address: str) -> str:
    """The id of a proposal with a name similar to that of an existing row; one is made where none is pending."""
    api = f"{address}/api/v1"
    if not (proposals := pending_similar(api)):
        topics = httpx.get(f"{api}/topics?limit=100", timeout=30).json()["items"]
        plural = next(one for one in topics if one["name"].isalpha() and one["name"][7:].endswith("s"))
        summary = f"How we use {plural['name']}, and where not."
        topic = {"name": plural["name"].removesuffix("s"), "description": summary, "confidence": 0.74}
        given = {"message_ids": [1], "user_id": 1, "topics": [topic], "atoms": []}
        httpx.post(f"{api}/knowledge/extractions", json=given, timeout=30).raise_for_status()
        comes_true(lambda: pending_similar(api) != [])
        proposals = pending_similar(api)
    by_spelling = [one for one in proposals if one["similarity_type"] == "spelling"]
    return str((by_spelling or proposals)[0]["id"])


def pending_similar(api: str) -> list[dict[str, Any]]:
    """Pending proposals that resemble an existing row."""
    found: list[dict[str, Any]] = httpx.get(f"{api}/knowledge/proposals?similar=true&limit=200", timeout=30).json()[
        "items"
    ]
    return found


@contextmanager
def ended(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Runs the block, then ends the process."""
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def screenshot_of_dagster(page: Page, folder: Path, address: str) -> None:
    """The asset graph; the pictures of runs and checks come from the test that clicks through the UI."""
    names = [f"phase_{number}_{name}" for number, name in enumerate(GROUPS)]
    expanded = ",".join(f"global@global:{name}" for name in names)
    page.goto(f"{address}/asset-groups?expanded={quote(expanded, safe=':@,')}")
    settle(page, 3)
    page.mouse.move(5, 5)  # an asset under the pointer would have its edges drawn bold
    page.wait_for_timeout(SETTLE_MS // 4)
    page.screenshot(path=folder / "asset_graph.png", clip={"x": 560, "y": 385, "width": 1725, "height": 680})


def settle(page: Page, times: int) -> None:
    """Waits until the page is rendered, and closes the dialogs of a first visit."""
    page.wait_for_timeout(times * SETTLE_MS)
    for label in ("Skip", "Dismiss"):
        button = page.get_by_text(label, exact=True)
        if button.count():
            button.first.click()
    page.wait_for_timeout(SETTLE_MS // 2)


def hide_this_machine(page: Page) -> None:
    """Replaces directories and names of this machine."""
    settings = open_installation().settings
    shown = {quote(str(settings.home), safe=""): "socket", str(settings.home): "home", operator(): "ada@operations"}
    page.evaluate(
        """shown => {
            const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
            while (walk.nextNode())
                for (const [from, to] of Object.entries(shown))
                    walk.currentNode.data = walk.currentNode.data.replaceAll(from, to);
        }""",
        shown,
    )


def screenshot_of_report(page: Page, folder: Path, scratch: Path) -> None:
    """The first screen of the report."""
    target = scratch / "report.html"
    subprocess.run([*COMMAND, "report", "--output", str(target)], check=True)
    page.set_viewport_size({"width": 1250, "height": 1000})
    page.goto(target.as_uri())
    hide_this_machine(page)
    page.screenshot(path=folder / "report.png")
    page.set_viewport_size({"width": 2300, "height": 1500})


def screenshot_of_status(page: Page, folder: Path, scratch: Path) -> None:
    """The output of `status` in a terminal."""
    installation = open_installation()
    console = Console(
        record=True, width=130, file=(scratch / "status.txt").open("w"), highlight=False, force_terminal=True
    )
    console.print(screen(read_status(installation.database, installation.settings)))
    target = scratch / "status.html"
    target.write_text(
        console.export_html(inline_styles=True, code_format="<pre style='font:14px/1.35 monospace'>{code}</pre>")
    )
    page.set_viewport_size({"width": 1150, "height": 400})
    page.goto(target.as_uri())
    hide_this_machine(page)
    page.locator("pre").screenshot(path=folder / "status.png")
    page.set_viewport_size({"width": 2300, "height": 1500})


def screenshot_of_documents(page: Page, folder: Path) -> None:
    """The document for sign-off of the latest quality validation."""
    installation = open_installation()
    with installation.database.connect("screenshots") as connection:
        kept = evidence.require(connection, "quality_validation", made_by="asset quality_validation")
    page.set_viewport_size({"width": 1250, "height": 800})
    page.goto(Path(kept.content["data_docs"]).absolute().as_uri())
    page.wait_for_timeout(SETTLE_MS // 2)
    hide_this_machine(page)
    page.screenshot(path=folder / "data_docs.png")
    page.set_viewport_size({"width": 2300, "height": 1500})


if __name__ == "__main__":
    main()
