"""`knowledge-migration flags`: the feature flags, seen and set; needs neither Dagster nor the service."""

import json
from typing import Annotated, Any

import typer
from rich.table import Table

from knowledge_migration.commands.setup import DryRun, Reason, console, open_installation
from knowledge_migration.engine.foundation.errors import PreconditionError

app = typer.Typer(
    help="The feature flags: every process of the service obeys a change within a second.", no_args_is_help=True
)


@app.command("show")
def show() -> None:
    """Show the flags, and which live processes of the service have seen them.

    Example: knowledge-migration flags show
    """
    from knowledge_migration.engine.dual_write.fence import live_writers
    from knowledge_migration.knowledge.flags import Flags, read_flags

    installation = open_installation()
    with installation.database.begin() as transaction:
        flags = read_flags(transaction)
    shown = flags or installation.initial_flags
    table = Table(
        "flag", "value", "meaning", title=f"version {shown.version}, state {shown.state}", title_justify="left"
    )
    for name, value in shown.values.items():
        table.add_row(name, json.dumps(value), Flags.model_fields[name].description or "")
    console.print(table)
    if flags is None or not flags.version:
        console.print("Nobody has set them yet: these are the initial values of the environment.")
    with installation.database.connect("flags") as connection:
        writers = live_writers(connection, installation.settings.fence.live_seconds)
    for row in writers:
        console.print(f"live: {row['process']}, mode {row['mode']}, has seen version {row['flag_version']}")
    if not writers:
        console.print("No process of the service is live.")


@app.command("set")
def set_(
    changes: Annotated[
        list[str], typer.Argument(help="name=value …, e.g. cutover_percentage=50", metavar="NAME=VALUE…")
    ],
    reason: Reason,
    expected_version: Annotated[
        int | None, typer.Option(help="Refuse unless the flags have this version: somebody else may be changing them.")
    ] = None,
    reset: Annotated[
        bool, typer.Option("--reset", help="Set every flag that is not named to its initial value.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Change flags for every process of the service, audited.

    Examples:

      knowledge-migration flags set dual_write=true --reason "phase 2"

      knowledge-migration flags set enabled=true cutover_percentage=10 --reason "first users" --expected-version 3

      knowledge-migration flags set enabled=false --reason "back to direct writes"
    """
    from knowledge_migration.engine.foundation import audit
    from knowledge_migration.knowledge.flags import FlagsError, changed, read_flags, set_flags

    installation = open_installation()
    wanted = dict(_parsed(change) for change in changes)
    initial = installation.initial_flags
    try:
        with installation.database.begin() as transaction:
            if dry_run:
                now = initial if reset else read_flags(transaction) or initial
                after = changed(now, wanted)
            else:
                after = set_flags(
                    transaction,
                    wanted,
                    initial=initial,
                    actor=audit.operator(),
                    reason=reason,
                    expected_version=expected_version,
                    reset=reset,
                )
    except FlagsError as error:
        raise PreconditionError(f"{error} Nothing was changed.") from error
    verb = "Would set" if dry_run else "Set"
    console.print(f"{verb} (version {after.version}, state {after.state}): {json.dumps(after.values)}")


@app.command("history")
def history_(limit: Annotated[int, typer.Option(min=1, max=1_000, help="How many changes.")] = 20) -> None:
    """Show who changed what, when and why, newest first.

    Example: knowledge-migration flags history --limit 5
    """
    from knowledge_migration.knowledge.flags import history

    installation = open_installation()
    with installation.database.begin() as transaction:
        changes = history(transaction, limit)
    if not changes:
        console.print("Nobody has changed the flags yet.")
        return
    table = Table("at (UTC)", "version", "changed", "by", "why")
    for change in changes:
        before, after = change["before"] or {}, change["after"] or {}
        differing = {name: value for name, value in after.items() if before.get(name) != value and name != "version"}
        words = ", ".join(f"{name}={json.dumps(value)}" for name, value in differing.items())
        moment = f"{change['at']:%Y-%m-%d %H:%M:%S}"
        table.add_row(moment, str(after.get("version")), words or "stored", change["actor"], change["reason"])
    console.print(table)


def _parsed(change: str) -> tuple[str, Any]:
    """A flag's name and value; the value is JSON, or a plain word."""
    name, separator, value = change.partition("=")
    if not separator:
        raise typer.BadParameter(f"{change!r} is not NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
