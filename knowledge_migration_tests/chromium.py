"""The system's Chromium, driven by Playwright, for the tests and the benchmark of the pages, and the screenshots."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-gpu-rasterization",  # Debian switches it on; without a GPU it took a quarter of the CPU time of a page
    "--disable-gpu-compositing",
    "--disable-software-rasterizer",
    "--disable-extensions",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
)


def chromium() -> str | None:
    """The path of Chromium: the variable CHROMIUM, or the first name on PATH; None if there is none."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


needs_chromium = pytest.mark.skipif(
    chromium() is None and "TESTS_INSIST" not in os.environ,
    reason="Chromium is missing; install Debian's package chromium, or set CHROMIUM to its path.",
)


@contextmanager
def opened_browser() -> Iterator[Browser]:
    """A browser that is closed after the block."""
    path = chromium()
    assert path, "Chromium is missing. Install Debian's package chromium, or set CHROMIUM to its path."
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(QUIET))
        try:
            yield browser
        finally:
            browser.close()
