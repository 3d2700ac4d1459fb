"""What every command begins with: the terminal, the options that many have, the installation that the settings name."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration.installation import Installation
from knowledge_migration.settings import load_settings

PLAIN_WIDTH = 140
console = Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done and change nothing.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it goes to the audit log.")]


def open_installation() -> Installation:
    """The installation that the settings name; Dagster need not run, nor have any storage."""
    return Installation(load_settings())


def dagster_project() -> Path:
    """The project's directory, with the variables set in this process that Dagster needs."""
    project = project_directory()
    os.environ.update(open_installation().process_variables(project))
    return project


def project_directory() -> Path:
    """The directory with `dagster.yaml`: DAGSTER_HOME if set, else this one; raises `MigrationError` if neither has it."""
    for candidate in (os.environ.get("DAGSTER_HOME"), Path.cwd()):
        if candidate and (Path(candidate) / "dagster.yaml").exists():
            return Path(candidate).absolute()
    raise MigrationError(
        f"There is no dagster.yaml in {Path.cwd()}. Run this in the project's directory, or set DAGSTER_HOME to it."
    )
