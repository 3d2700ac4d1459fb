"""axe-core: what it reports about a page as it is."""

from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}}

FADED_IN = """async () => {
    const frame = () => new Promise(requestAnimationFrame);
    const running = () => document.getAnimations().filter(
        one => one.playState === 'running' && one.effect.getComputedTiming().endTime !== Infinity);
    do {
        await frame();
        await frame();
        await Promise.allSettled(running().map(one => one.finished));
    } while (running().length);
}"""
"""Waits for every transition that ends: while colours fade in, their contrast is too low."""


def violations(page: Page, within: str | None = None) -> list[str]:
    """The violations that axe-core reports about the page or a part of it, with their elements."""
    return _violations(page, within, RULES)


def dialog_violations(page: Page) -> list[str]:
    """Those inside the open dialog, but for colours: axe takes the backdrop for the background; the page has the same buttons."""
    return _violations(page, ".q-dialog", RULES | {"rules": {"color-contrast": {"enabled": False}}})


def _violations(page: Page, within: str | None, rules: dict[str, Any]) -> list[str]:
    page.evaluate(FADED_IN)
    violated = Axe().run(page, context=within, options=rules).response["violations"]
    return [f"{one['id']}: {node['html'][:200]} {node['failureSummary']}" for one in violated for node in one["nodes"]]
