"""`knowledge-migration alerts`: the channels that people are told through."""

import typer

from knowledge_migration.commands.setup import console, installation
from knowledge_migration.engine.foundation.errors import MigrationError, PreconditionError

app = typer.Typer(help="The channels that people are told through.", no_args_is_help=True)


@app.callback()
def alerts() -> None:
    """The channels that people are told through."""


@app.command("test")
def test() -> None:
    """Send a message to every channel of KNOWLEDGE_MIGRATION_ALERT_URLS; exit code 1 if one does not take it.

    Example: KNOWLEDGE_MIGRATION_ALERT_URLS='["json://127.0.0.1:9000"]' knowledge-migration alerts test
    """
    from knowledge_migration.defs.resources import alerts_of, refuse_unusable_channels

    settings, env = installation()
    channels = alerts_of(settings)
    if not channels.configured:
        raise PreconditionError(
            "No channel is configured. Name some, in the notation of apprise: KNOWLEDGE_MIGRATION_ALERT_URLS='[\"…\"]'."
        )
    refuse_unusable_channels(settings)
    failures = channels.send("A test", f"Alerts about {env.database.display} arrive here.", kind="info")
    for failure in failures:
        console.print(f"{failure.channel}: {failure.reason}", markup=False)
    if failures:
        raise MigrationError(f"{len(failures)} of {len(channels.urls)} channels did not take the message.")
    console.print(f"All {len(channels.urls)} channels took the message.")
