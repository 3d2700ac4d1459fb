"""The `knowledge-migration` command: the phases without the UI, the rollbacks, and the operator's decisions.

Every command reads the settings from the environment (see `knowledge-migration settings`). An error that the migration
raises on purpose ends it with exit code 1 and one sentence; nothing is half done then.
"""

from importlib.metadata import version
from typing import Annotated, NoReturn

import psycopg
import sqlalchemy as sa
import typer
from rich.console import Console
from rich.text import Text

from knowledge_migration.commands import (
    backfill,
    cleanup,
    cutover,
    doctor,
    recovery,
    rollback,
    service,
    status,
    validation,
)
from knowledge_migration.commands.terminal import (
    AsJson,
    console,
    dagster_project,
    open_installation,
    project_directory,
    show_rows,
)
from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration.engine.foundation.explanation import explained, innermost
from knowledge_migration.settings import SettingsError, load_settings, variables

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for group, name in (
    (backfill.app, "backfill"),
    (backfill.quarantine_app, "quarantine"),
    (rollback.app, "rollback"),
    (cutover.app, "cutover"),
    (validation.criteria_app, "criteria"),
    (status.alerts_app, "alerts"),
    (cleanup.app, "cleanup"),
    (recovery.app, "recover"),
    (cutover.flags_app, "flags"),
    (service.proposals_app, "proposals"),
    (service.dual_write_app, "dual-write"),
):
    app.add_typer(group, name=name)
for command in (
    doctor.doctor,
    rollback.restore,
    validation.rehearse,
    validation.drill,
    validation.functional,
    validation.load_test,
    status.report,
    status.status,
    service.serve,
    service.traffic,
):
    app.command(command.__name__.replace("_", "-"))(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        console.print(f"knowledge-migration {version('knowledge_migration')}")
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Moves a live PostgreSQL application to a proposal workflow: no downtime, no data loss, verified."""


def run() -> None:
    """Runs a command; an error that is meant for the operator is one sentence and exit code 1."""
    try:
        app()
    except (MigrationError, SettingsError) as error:
        _fail(type(error).__name__, str(error), error)
    except (psycopg.Error, sa.exc.DBAPIError, OSError) as error:
        _fail(type(innermost(error)).__name__, explained(error), error)


def _fail(kind: str, message: str, error: Exception) -> NoReturn:
    Console(stderr=True, highlight=False, soft_wrap=True).print(Text.assemble((kind, "bold red"), f": {message}"))
    raise SystemExit(1) from error


@app.command()
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


@app.command()
def ui(
    port: Annotated[int, typer.Option(help="Loopback port; 0 takes a free one.")] = 0,
) -> None:
    """Open the project in `dagster dev`, with the history of all runs.

    Example: knowledge-migration ui --port 3000
    """
    from knowledge_migration.commands.migrate import run_ui

    open_installation().refuse_unusable_channels()
    raise SystemExit(run_ui(console, dagster_project(), port))


@app.command(name="environment")
def print_environment() -> None:
    """Print the variables that `dagster` commands need, for a shell to use while `ui` runs.

    Example: eval "$(knowledge-migration environment)"
    """
    from shlex import quote

    for name, value in open_installation().process_variables(project_directory()).items():
        print(f"export {name}={quote(value)}")


@app.command()
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


@app.command(name="settings")
def print_settings(as_json: AsJson = False) -> None:
    """List every setting: its variable, value and meaning.

    Example: knowledge-migration settings --json
    """
    settings = load_settings()
    rows = {
        variable.upper(): {
            "variable": variable.upper(),
            "value": str(getattr(getattr(settings, section), field)),
            "meaning": info.description or "",
        }
        for variable, section, field, info in variables()
    }
    show_rows(list(rows.values()), as_json, none="")
