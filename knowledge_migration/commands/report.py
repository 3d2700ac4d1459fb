"""`knowledge-migration report`: the migration report, one HTML file to attach to the change request."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from knowledge_migration.commands.setup import console, open_installation

PLOTTED_DAYS = 30


def report(
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write; an existing one is replaced.")],
) -> None:
    """Write the migration report: checklists, inventory, timings, checks, gates, rollbacks, validation runs, audit trail.

    Evaluates every criterion now and reads the rest as it is recorded; changes nothing. The file opens without a network.

    Example: knowledge-migration report --output report.html
    """
    from knowledge_migration.engine.foundation import audit
    from knowledge_migration.engine.observability.report import gather, write
    from knowledge_migration.engine.status.snapshot import read_status
    from knowledge_migration.engine.validation.criteria.facts import Facts

    installation = open_installation()
    storage = installation.running_dagster_storage
    with (
        console.status("gathering"),
        installation.database.connect("report", settings={"statement_timeout": "0"}) as connection,
    ):
        snapshot = read_status(installation.database, installation.settings, storage)
        facts = Facts(
            database=installation.database,
            connection=connection,
            settings=installation.settings,
            checks={check.name: check for check in snapshot.checks or ()},
            service=installation.service_address if installation.settings.service.url else None,
        )
        since = snapshot.at - timedelta(days=PLOTTED_DAYS)
        contents = gather(snapshot, facts, storage, written_by=audit.operator(), since=since)
        write(contents, output)
    summary = ", ".join(f"{count} {verdict}" for verdict, count in contents.counts.items())
    console.print(f"Written to {output}: {summary}.", soft_wrap=True)
