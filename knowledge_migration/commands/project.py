"""`knowledge-migration migrate`, `ui`, `environment`, `stop` and `settings`: the project as a whole."""

import json
from typing import Annotated

import typer

from knowledge_migration.commands.terminal import (
    AsJson,
    console,
    dagster_project,
    open_installation,
    project_directory,
    show_rows,
)
from knowledge_migration.settings import load_settings, variables
from knowledge_migration.thresholds import changes


def migrate() -> None:
    """Run phases 0 to 4 on the database that the settings name, or on a demonstration.

    Examples:

      knowledge-migration migrate

      KNOWLEDGE_MIGRATION_DATABASE_URL=postgresql://user@host/tasktracker knowledge-migration migrate
    """
    from knowledge_migration.commands.migrate import run_migrate

    dagster_project()
    if not run_migrate(console, open_installation()):
        raise SystemExit(1)


def ui(
    port: Annotated[int, typer.Option(help="Loopback port; 0 takes a free one.")] = 0,
) -> None:
    """Open the project in `dagster dev`, with the history of all runs.

    Example: knowledge-migration ui --port 3000
    """
    from knowledge_migration.commands.migrate import run_ui

    installation = open_installation()
    installation.refuse_unusable_channels()
    raise SystemExit(run_ui(console, dagster_project(), port, installation.announced_ui))


def print_environment() -> None:
    """Print the variables that `dagster` commands need, for a shell to use while `ui` runs.

    Example: eval "$(knowledge-migration environment)"
    """
    from shlex import quote

    for name, value in open_installation().process_variables(project_directory()).items():
        print(f"export {name}={quote(value)}")


def stop() -> None:
    """Stop the demonstration's application and the embedded server of this directory, where they run."""
    from knowledge_migration.demo.background import stop_application
    from knowledge_migration.engine.foundation.embedded_server import stop as stop_server
    from knowledge_migration.installation import embedded_directory

    settings = load_settings()
    if stop_application(settings.home):
        console.print("The demonstration's application is stopped.")
    stopped = stop_server(embedded_directory(settings))
    console.print("The embedded server is stopped." if stopped else "No embedded server runs here.")


def print_settings(as_json: AsJson = False) -> None:
    """List every setting: its variable, value and meaning.

    Example: knowledge-migration settings --json
    """
    settings = load_settings()
    rows = {}
    for variable, section, field, info in variables():
        name, value = variable.upper(), getattr(getattr(settings, section), field)
        shown = json.dumps(changes(value)) if name == "CUTOVER_GATES" else str(value)
        rows[name] = {"variable": name, "value": shown, "meaning": info.description or ""}
    show_rows(list(rows.values()), as_json, none="")
