"""The terminal, the options that many commands share, tables and bars, and the installation that the settings name."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration.installation import Installation
from knowledge_migration.settings import load_settings

PLAIN_WIDTH = 140
console = Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done and change nothing.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is recorded in the audit log.")]


def open_installation() -> Installation:
    """The installation that the settings name; needs neither a running Dagster nor its storage."""
    return Installation(load_settings())


def dagster_project() -> Path:
    """The project's directory; sets the variables that Dagster needs in this process."""
    project = project_directory()
    os.environ.update(open_installation().process_variables(project))
    return project


def project_directory() -> Path:
    """The directory with `dagster.yaml`: DAGSTER_HOME if set, else this one, else one in the home that an installed wheel fills.

    Raises `MigrationError` if there is none.
    """
    for candidate in (os.environ.get("DAGSTER_HOME"), Path.cwd()):
        if candidate and (Path(candidate) / "dagster.yaml").exists():
            return Path(candidate).absolute()
    package = files("knowledge_migration")
    if package.joinpath("dagster.yaml").is_file():
        home = load_settings().home / "dagster_home"
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in ("dagster.yaml", "workspace.yaml"):
            (home / name).write_text(package.joinpath(name).read_text(encoding="utf-8"), encoding="utf-8")
        return home
    raise MigrationError(
        f"There is no dagster.yaml in {Path.cwd()}. Run this in the project's directory, or set DAGSTER_HOME to it."
    )


def say(message: str) -> None:
    """Prints a message as it is: one line however long, and no markup."""
    console.print(message, soft_wrap=True, markup=False)


def confirm(question: str, yes: bool) -> None:
    """Asks, and ends the command unless the operator agrees."""
    if not yes:
        typer.confirm(question, abort=True)


def listed(counts: Mapping[Any, int], what: str = "") -> str:
    """Counts by name: 3 topics, 1,000 atoms."""
    return ", ".join(f"{count:,} {what}{name}" for name, count in counts.items())


@contextmanager
def counting(work: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar over a known number of rows; silent where there is no terminal."""
    from rich.progress import Progress  # imported here: most commands show no bar

    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(work, total=total)
        yield lambda rows: progress.advance(task, rows)


def rows_table(rows: Sequence[Mapping[str, Any]], *, styles: Mapping[str, str] | None = None) -> Table:
    """Rows with the names of their columns; `styles` colours values. The first column names the row: it is never cut."""
    table = Table()
    for number, column in enumerate(rows[0]):
        table.add_column(column, no_wrap=not number, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_shown(value), (styles or {}).get(str(value), "")) for value in row.values()))
    return table


def show_rows(rows: Sequence[Mapping[str, Any]], as_json: bool, *, none: str, **options: Any) -> None:
    """Prints rows as a table, or `none` where there are none; or all of them as JSON."""
    if as_json:
        print_json(rows)
    else:
        console.print(rows_table(rows, **options) if rows else none)


def print_json(value: Any) -> None:
    """Prints a value as JSON, as it is however wide the terminal."""
    print(json.dumps(value, indent=2, default=str, ensure_ascii=False))


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return json.dumps(value) if isinstance(value, bool | list | dict) else str(value)
