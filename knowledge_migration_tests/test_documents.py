"""The documentation names what exists: links, settings with their defaults, a README that is short."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from knowledge_migration.pressure import SIGNALS
from knowledge_migration.settings import variables

PROJECT = Path(__file__).parents[1]
PAGES = sorted([*PROJECT.glob("*.md"), *(PROJECT / "docs").glob("*.md")])
LONGEST_README_WORDS = 1_100


def settings_table() -> str:
    """The table of docs/settings.md: every variable with its default and meaning."""
    rows = ["| variable | default | meaning |", "| --- | --- | --- |"]
    for variable, _, _, info in variables():
        default = info.default
        if default is None or default == {} or isinstance(default, tuple):
            shown = ""  # the description says where a table is shown
        else:
            text = json.dumps(default) if isinstance(default, bool | int | float | list | dict) else str(default)
            shown = f"`{text}`"
        rows.append(f"| `{variable.upper()}` | {shown} | {info.description} |")
    return "\n".join(rows) + "\n"


def test_the_page_of_the_settings_lists_each_with_its_default() -> None:
    assert settings_table() in (PROJECT / "docs" / "settings.md").read_text(encoding="utf-8")


def test_the_readme_is_short() -> None:
    assert len((PROJECT / "README.md").read_text(encoding="utf-8").split()) <= LONGEST_README_WORDS


def test_contributors_are_sent_to_files_that_exist() -> None:
    named = re.findall(r"`([\w-]+/[\w./-]*)`", (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    roots = (PROJECT, PROJECT / "knowledge_migration")
    assert named
    assert [path for path in named if not any((root / path).exists() for root in roots)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]

    assert missing == []


def test_the_site_has_every_page_and_no_broken_link_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    pages = {page.stem: page.read_text(encoding="utf-8") for page in tmp_path.glob("*.html")}
    assert pages.keys() == {page.stem for page in (PROJECT / "docs").glob("*.md")} | {"404"}
    assert {
        name: found
        for name, page in pages.items()
        if (found := re.findall(r'(?:src|rel="stylesheet" href)="https?:[^"]*', page))
    } == {}
    for name in ("write", "write_within", "require_room", "include_object"):
        assert f".{name}" in pages["api"]
    unlisted = [name for name in pages if f'href="{name}.html"' not in pages["index"] and name not in ("404", "index")]
    assert unlisted == []


def signals_table() -> str:
    """The table of docs/speed.md: every signal with its limits and meaning."""
    rows = ["| signal | soft | hard | critical | unit | meaning |", "| --- | --- | --- | --- | --- | --- |"]
    for one in SIGNALS:
        limits = ("" if limit is None else f"{limit:g}" for limit in (one.soft, one.hard, one.critical))
        rows.append(f"| `{one.name}` | {' | '.join(limits)} | {one.unit} | {one.meaning} |")
    return "\n".join(rows) + "\n"


def test_the_page_of_the_speed_lists_each_signal_with_its_limits() -> None:
    assert signals_table() in (PROJECT / "docs" / "speed.md").read_text(encoding="utf-8")
