"""The `knowledge-migration` command: the phases without the UI, the rollbacks, and the operator's decisions.

Every command reads the settings from the environment (see `knowledge-migration settings`). An error that the migration
raises on purpose ends it with exit code 1 and one sentence; nothing is half done then.
"""

from importlib import import_module
from typing import Annotated, Any, NoReturn

import psycopg
import sqlalchemy as sa
import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from knowledge_migration.commands.terminal import console
from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration.engine.foundation.explanation import explained, innermost
from knowledge_migration.settings import SettingsError

PLACES = {
    "doctor": "doctor.doctor",
    "migrate": "project.migrate",
    "ui": "project.ui",
    "serve": "service.serve",
    "status": "status.status",
    "rehearse": "validation.rehearse",
    "drill": "validation.drill",
    "backfill": "backfill.app",
    "quarantine": "backfill.quarantine_app",
    "dual-write": "service.dual_write_app",
    "proposals": "service.proposals_app",
    "cutover": "cutover.app",
    "flags": "cutover.flags_app",
    "rollback": "rollback.app",
    "restore": "rollback.restore",
    "recover": "recovery.app",
    "cleanup": "cleanup.app",
    "criteria": "validation.criteria_app",
    "functional": "validation.functional",
    "load-test": "validation.load_test",
    "report": "status.report",
    "alerts": "status.alerts_app",
    "traffic": "service.traffic",
    "settings": "project.print_settings",
    "environment": "project.print_environment",
    "stop": "project.stop",
}
"""Each command in order of use, with its module and its name there."""


class Commands(TyperGroup):
    """Loads a command when it is called or listed: all of them took a fifth of the CPU time of a short command."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command; an unknown name loads all, so that the error can name the nearest."""
        if cmd_name not in PLACES:
            self.list_commands(ctx)
        elif cmd_name not in self.commands:
            self.commands[cmd_name] = _loaded(cmd_name)
        return super().get_command(ctx, cmd_name)

    def list_commands(self, ctx: Any) -> list[str]:
        """All names, in order of use."""
        for name in PLACES:
            self.get_command(ctx, name)
        return list(PLACES)


def _loaded(name: str) -> Any:
    module, _, attribute = PLACES[name].partition(".")
    command = getattr(import_module(f"knowledge_migration.commands.{module}"), attribute)
    alone = typer.Typer(callback=lambda: None, rich_markup_mode="rich")
    if isinstance(command, typer.Typer):
        alone.add_typer(command, name=name)
    else:
        alone.command(name)(command)
    return typer.main.get_group(alone).commands[name]


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

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
