"""`knowledge-migration alerts`: the channels of the alerts."""

import typer

from knowledge_migration.commands.setup import console, open_installation
from knowledge_migration.engine.foundation.errors import MigrationError, PreconditionError

app = typer.Typer(help="The channels of the alerts.", no_args_is_help=True)


@app.callback()
def alerts() -> None:
    """The channels of the alerts."""


@app.command("test")
def test() -> None:
    """Send a message to every channel of KNOWLEDGE_MIGRATION_ALERT_URLS; exit code 1 if one does not accept it.

    Example: KNOWLEDGE_MIGRATION_ALERT_URLS='["json://127.0.0.1:9000"]' knowledge-migration alerts test
    """
    installation = open_installation()
    channels = installation.alerts
    if not channels.urls:
        raise PreconditionError(
            "No channel is configured. Set their URLs, in the notation of apprise: KNOWLEDGE_MIGRATION_ALERT_URLS='[\"…\"]'."
        )
    installation.refuse_unusable_channels()
    failures = channels.send("A test", f"Alerts about {installation.database.display} arrive here.", kind="info")
    for failure in failures:
        console.print(f"{failure.channel}: {failure.reason}", markup=False)
    if failures:
        raise MigrationError(f"{len(failures)} of {len(channels.urls)} channels did not accept the message.")
    console.print(f"All {len(channels.urls)} channels accepted the message.")
