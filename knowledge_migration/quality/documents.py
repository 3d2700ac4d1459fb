"""The sign-off document of a validation: an index of its suites and the pages of Great Expectations, one folder per run.

A folder gets its final name when it is complete; the oldest beyond a number are removed. The pages load nothing from a network
and run no script: external styles, icons, scripts and logos are removed, and our own style sheet is inserted.
"""

import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from pathlib import Path

from knowledge_migration.quality.expectations import SuiteOutcome

INDEX = "index.html"
PARTIAL = ".partial_"
LEFT_OVER_AFTER = timedelta(days=1)
ABSENT = "absent before phase 1"
# Great Expectations does not escape values in its pages: a value such as <img onerror=…> must neither run nor load
ALONE = (
    """<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; """
    """form-action 'none'; base-uri 'none'">"""
)

_REMOTE = re.compile(
    r"<script\b.*?</script>|<link\b[^>]*>|<footer\b.*?</footer>|<img\b[^>]*https?://[^>]*>|<!--.*?-->|url\('https?://[^']*'\)",
    re.DOTALL,
)
_ACTIONS = re.compile(
    r'<div class="card mb-3">\s*<div class="card-header p-2">\s*<strong>Actions</strong>.*?(?=<div class="card d-md)',
    re.DOTALL,
)
_FOLDER = re.compile(r"\d{8}T\d{6}(_\d{6})?Z(-\w+)?")


@dataclass(frozen=True)
class SignOff:
    """The content of the index: database, time, operator, the outcome of each suite, and suites without a table."""

    database: str
    at: datetime
    suites: tuple[SuiteOutcome, ...]
    absent: Sequence[tuple[str, str]] = ()
    operator: str = ""
    dagster_run_id: str = ""

    @property
    def passed(self) -> bool:
        """True when every critical expectation is met."""
        return all(outcome.passed for outcome in self.suites)

    @property
    def folder(self) -> str:
        """The folder of this run: its time, and the Dagster run's id if there is one."""
        stamp = self.at.astimezone(UTC).strftime("%Y%m%dT%H%M%S_%fZ")
        return f"{stamp}-{self.dagster_run_id[:8]}" if self.dagster_run_id else stamp


@contextmanager
def unpublished(directory: Path) -> Iterator[Path]:
    """A folder for the pages while they are written; removed unless `publish` renames it."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    _remove_leftovers(directory)
    folder = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=directory))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(folder: Path, sign_off: SignOff, *, kept: int) -> Path:
    """Writes the index, cleans the pages, renames the folder, removes the oldest beyond `kept`; returns the index."""
    for page in folder.rglob("*.html"):
        page.write_text(cleaned(page.read_text(encoding="utf-8")), encoding="utf-8")
    shutil.rmtree(folder / "static", ignore_errors=True)
    (folder / INDEX).write_text(index(sign_off), encoding="utf-8")
    folder.chmod(0o700)
    published = folder.rename(folder.parent / sign_off.folder)
    runs = sorted(one for one in published.parent.iterdir() if one.is_dir() and _FOLDER.fullmatch(one.name))
    for oldest in runs[:-kept]:
        shutil.rmtree(oldest, ignore_errors=True)
    return published / INDEX


def _remove_leftovers(directory: Path) -> None:
    """Removes unfinished folders of killed runs, unless they may still be running."""
    oldest = (datetime.now(UTC) - LEFT_OVER_AFTER).timestamp()
    for folder in directory.glob(f"{PARTIAL}*"):
        if folder.stat().st_mtime < oldest:
            shutil.rmtree(folder, ignore_errors=True)


def cleaned(page: str) -> str:
    """The page without external resources and scripts."""
    local = _ACTIONS.sub("", _REMOTE.sub("", page))
    return local.replace("<head>", f"<head>{ALONE}", 1).replace(
        "</head>", f"<style>{_file('sign_off.css')}</style></head>", 1
    )


@cache
def _file(name: str) -> str:
    return files("knowledge_migration.quality").joinpath(name).read_text(encoding="utf-8")


def index(sign_off: SignOff) -> str:
    """The first page: verdict, suites, each expectation that is not met with its remedy, and lines to sign."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined)
    return environment.from_string(_file("sign_off.html.j2")).render(
        sign_off=sign_off,
        failed=[row for outcome in sign_off.suites for row in outcome.failed_rows()],
        at=sign_off.at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        policy=ALONE,
        style=_file("sign_off.css"),
        absent=ABSENT,
    )
