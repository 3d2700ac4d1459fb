"""The review page in a real browser with 100,000 pending proposals and with 1,000, interleaved.

Usage: make bench, or python -m knowledge_migration_tests.benchmarks.review_page [--rounds 10]. Requires Chromium. Times are
those of the browser, from the navigation or the key until the proposal is painted.
"""

import argparse
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page
from rich.console import Console
from rich.progress import track
from rich.table import Table

from knowledge_migration.engine.foundation import embedded_server
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.engine.schema import upgrade as schema
from knowledge_migration.pages.frame import PREFERENCES_COOKIE, Preferences
from knowledge_migration.settings import SchemaChangeSettings
from knowledge_migration_tests.benchmarks.million import million_proposals
from knowledge_migration_tests.chromium import opened_browser
from knowledge_migration_tests.pages.living import Living, living
from knowledge_migration_tests.pages.waiting import waiting_proposals

console = Console(highlight=False, width=130)

BARS_MS = {
    "cold load": 2_000,
    "warm load": 300,
    "approve, then the next": 150,
    "reject with a reason, then the next": 150,
}
ACTIONS = 10
"""Approvals per round."""

WATCH = """
window.watched = {seen: null, acts: [], from: null, was: null};
const proposal = () => document.querySelector("[data-proposal]")?.dataset.proposal;
new MutationObserver(() => {
  const w = window.watched, now = proposal();
  if (!w.seen && document.getElementById("proposal-heading"))
    requestAnimationFrame(() => { w.seen ??= performance.now(); });
  if (w.from !== null && now && now !== w.was) {
    const from = w.from; w.from = null;
    requestAnimationFrame(() => w.acts.push(performance.now() - from));
  }
}).observe(document, {subtree: true, childList: true, attributes: true, attributeFilter: ["data-proposal"]});
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" || (event.key === "a" && event.target === document.body)) {
    window.watched.from = performance.now(); window.watched.was = proposal();
  }
}, true);
"""

Times = dict[str, list[float]]


def main() -> None:
    """Prints a table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=10)
    rounds = arguments.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="kmbench_", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        server = embedded_server.start(folder / "data", cleanup="delete")
        long = million_proposals(server.ensure_database("long").url)
        short = server.ensure_database("short")
        prepare_short(short)
        for one in ("of_long", "of_short"):
            (folder / one).mkdir()
        with (
            living(long, folder / "of_long") as first,
            living(short, folder / "of_short") as second,
            opened_browser() as browser,
        ):
            queues = {"long": first, "short": second}
            times: dict[str, Times] = {which: defaultdict(list) for which in queues}
            for _ in track(range(rounds), "Rounds", console=console):
                for which, served in queues.items():
                    one_round(browser, served, times[which])
        report(times, {which: waiting(served.database) for which, served in queues.items()})


def prepare_short(database: Database) -> None:
    """Fills the short queue."""
    with database.connect("bench") as connection:
        connection.execute(text_of("legacy/schema"))
    schema.upgrade(database, SchemaChangeSettings())
    waiting_proposals(database, topics=1_000, atoms=0)


def one_round(browser: Browser, served: Living, times: Times) -> None:
    """A cold load, a warm load, and a series of decisions."""
    context = browser.new_context(viewport={"width": 1360, "height": 900})
    context.add_init_script(WATCH)
    skip_tour(context, served)
    page = context.new_page()
    times["cold load"].append(load(page, served))
    times["warm load"].append(load(page, served))
    times["approve, then the next"] += [act(page) for _ in range(ACTIONS)]
    times["reject with a reason, then the next"].append(reject(page))
    context.close()


def skip_tour(context: BrowserContext, served: Living) -> None:
    """Marks the tour as seen."""
    seen = Preferences(tour_seen=True).as_cookie
    context.add_cookies([{"name": PREFERENCES_COOKIE, "value": seen, "url": served.url}])


def load(page: Page, served: Living) -> float:
    """Milliseconds until the first proposal is painted."""
    page.goto(f"{served.url}/review")
    page.wait_for_function("window.watched.seen !== null")
    seen: float = page.evaluate("window.watched.seen")
    page.wait_for_function("window.pages.listening")
    return seen


def act(page: Page) -> float:
    """Milliseconds from the key to the next proposal."""
    before = page.evaluate("window.watched.acts.length")
    page.keyboard.press("a")
    return next_one(page, before)


def reject(page: Page) -> float:
    """Milliseconds from Enter after the reason to the next proposal."""
    before = page.evaluate("window.watched.acts.length")
    page.keyboard.press("r")
    page.locator("#reason").press_sequentially("Too vague")
    page.keyboard.press("Enter")
    return next_one(page, before)


def next_one(page: Page, before: int) -> float:
    """Milliseconds of the current action."""
    page.wait_for_function("before => window.watched.acts.length > before", arg=before)
    taken: float = page.evaluate("window.watched.acts.at(-1)")
    page.wait_for_timeout(200)  # a person reads; meanwhile the next one is fetched
    return taken


def waiting(database: Database) -> int:
    """The number of pending proposals."""
    with database.connect("bench") as connection:
        row = connection.execute(
            "SELECT (SELECT count(*) FROM topic_proposals WHERE status = 'pending') "
            "+ (SELECT count(*) FROM atom_proposals WHERE status = 'pending') AS waiting"
        ).fetchone()
    assert row is not None
    return int(row["waiting"])


def report(times: dict[str, Times], lengths: dict[str, int]) -> None:
    """Prints one line per measurement."""
    table = Table(
        "", "n", "median ms", "p95 ms", "slowest ms", "bar ms", "within", "median with the short queue", "ratio"
    )
    for name, bar in BARS_MS.items():
        taken, short = sorted(times["long"][name]), times["short"][name]
        median = statistics.median(taken)
        p95 = taken[min(int(len(taken) * 0.95), len(taken) - 1)]
        values = (f"{value:.0f}" for value in (median, p95, taken[-1], bar))
        beside = statistics.median(short)
        table.add_row(
            name, str(len(taken)), *values, "yes" if p95 < bar else "NO", f"{beside:.0f}", f"{median / beside:.2f}"
        )
    console.print(f"{lengths['long']:,} pending proposals, and {lengths['short']:,} in the short queue")
    console.print(table)


if __name__ == "__main__":
    main()
