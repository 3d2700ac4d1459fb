"""`knowledge-migration cleanup`: phase 5 by hand, what it would do, and the way back; needs neither Dagster nor the service."""

from typing import Annotated
from uuid import UUID

import typer

from knowledge_migration.commands.setup import DryRun, Reason, Yes, console, open_installation
from knowledge_migration.engine.foundation.errors import PreconditionError

app = typer.Typer(
    help="Phase 5: retire the old paths, archive old extractions, look after indexes.", no_args_is_help=True
)

Without = Annotated[
    list[str] | None, typer.Option("--without", help="A table (topics, atoms) that stays without the rule.")
]


@app.command("status")
def status() -> None:
    """Show how far phase 5 is and what stands in its way; changes nothing.

    Example: knowledge-migration cleanup status
    """
    from knowledge_migration.engine.cleanup.archive import archive_extent
    from knowledge_migration.engine.cleanup.indexes import report_indexes
    from knowledge_migration.engine.cleanup.retirement import readiness

    installation = open_installation()
    found = readiness(installation.database, live_seconds=installation.settings.fence.live_seconds)
    console.print(f"Database {installation.database.display}")
    console.print(found.stability.sentence)
    console.print(f"The old paths are {'retired' if found.retired else 'open'}.")
    for table, state in found.constraints.items():
        console.print(f"The rule that every row of {table} comes from a proposal: {state}.")
    for obstacle in found.obstacles:
        console.print(f"In the way: {obstacle}")
    console.print(f"Live processes of the service: {', '.join(found.live_writers) or 'none'}")
    with installation.database.connect("cleanup status") as connection:
        extent, report = archive_extent(connection), report_indexes(connection)
    console.print(
        f"Archive: {extent.runs:,} runs, {extent.topic_proposals:,} topic and {extent.atom_proposals:,} atom proposals."
    )
    console.print(
        f"Indexes: {len(report.indexes)}, findings: {len(report.findings)} (knowledge-migration cleanup indexes)."
    )


@app.command("retire")
def retire(
    reason: Reason,
    override: Annotated[
        str | None, typer.Option(help="Why full cutover need not have been stable for two weeks; it is audited.")
    ] = None,
    without: Without = None,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Lock direct writes and dual write, and let the database refuse topics and atoms without a proposal.

    Examples:

      knowledge-migration cleanup retire --reason "two weeks without trouble" --dry-run

      knowledge-migration cleanup retire --reason "the old client is gone" --override "agreed with operations"
    """
    from knowledge_migration.engine.cleanup import retirement

    installation = open_installation()
    found = retirement.readiness(
        installation.database, live_seconds=installation.settings.fence.live_seconds, without=tuple(without or ())
    )
    console.print(f"Database {installation.database.display}. {found.stability.sentence}")
    for obstacle in found.obstacles:
        console.print(f"In the way: {obstacle}")
    if dry_run:
        console.print("Would do nothing." if found.obstacles and not override else "Would retire the old paths.")
        return
    if not yes:
        typer.confirm("Retire direct writes and dual write?", abort=True)
    done = retirement.retire(
        installation.database,
        installation.initial_flags,
        installation.settings.fence,
        installation.settings.schema_change,
        reason=reason,
        override=override,
        without=tuple(without or ()),
        no_live_writers=installation.settings.dual_write.no_live_writers,
    )
    ruled = [table for table, state in done.constraints.items() if state is not None]
    console.print(
        f"The old paths are retired (flags version {done.flags.version}); the database refuses rows without a proposal in: "
        f"{', '.join(ruled) or 'no table'}. {done.seconds:.1f} s."
    )


@app.command("reopen")
def reopen(reason: Reason, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Undo a retirement: the rules of the database away, the lock open, dual write on. Extractions stay proposals.

    Example: knowledge-migration cleanup reopen --reason "rolling back"
    """
    from knowledge_migration.engine.cleanup import completeness, retirement

    installation = open_installation()
    with installation.database.connect("cleanup status") as connection:
        states = completeness.states(connection)
    standing = [table for table, state in states.items() if state != "missing"]
    console.print(f"Database {installation.database.display}; the rule stands on: {', '.join(standing) or 'no table'}.")
    if dry_run:
        return
    if not yes:
        typer.confirm("Open the old paths?", abort=True)
    opened = retirement.reopen(
        installation.database, installation.initial_flags, installation.settings.schema_change, reason=reason
    )
    console.print(
        f"The old paths are open (flags version {opened.flags.version}, state {opened.flags.state}); rules dropped: "
        f"{', '.join(opened.released) or 'none'}."
    )


@app.command("archive")
def archive(
    reason: Reason,
    older_than_days: Annotated[float, typer.Option(min=0, help="Runs that began longer ago may go.")] = 30.0,
    batch_runs: Annotated[int, typer.Option(min=1, max=10_000, help="Runs in one transaction.")] = 100,
    restore: Annotated[UUID | None, typer.Option(help="Bring this run back instead.")] = None,
    dry_run: DryRun = False,
) -> None:
    """Move old extraction runs that nobody needs any more into the archive, with their proposals.

    Examples:

      knowledge-migration cleanup archive --reason "tidying" --dry-run

      knowledge-migration cleanup archive --reason "an auditor asks" --restore 7b0c6f9e-3c0e-4a57-8a39-0f4f6f3a6d11
    """
    from knowledge_migration.engine.cleanup.archive import archive_extractions, restore_archived

    installation = open_installation()
    if restore and not dry_run:
        back = restore_archived(installation.database, restore, reason=reason)
        console.print(
            f"Run {restore} is back with {back.topic_proposals} topic and {back.atom_proposals} atom proposals."
        )
        return
    if restore:
        raise PreconditionError("A single run is brought back or not; there is no dry run of --restore.")
    done = archive_extractions(
        installation.database,
        reason=reason,
        older_than_days=older_than_days,
        batch_runs=batch_runs,
        dry_run=dry_run,
        limits=installation.settings.schema_change,
    )
    console.print(
        f"{'Would move' if dry_run else 'Moved'} {done.runs:,} runs with {done.topic_proposals:,} topic and "
        f"{done.atom_proposals:,} atom proposals."
    )
    for why, count in sorted(done.kept.items()):
        console.print(f"{count:,} runs stay: {why}.")


@app.command("indexes")
def indexes(
    drop: Annotated[list[str] | None, typer.Option("--drop", help="An index to drop; may be given again.")] = None,
    recreate: Annotated[str | None, typer.Option(help="Build an index again that was dropped here.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why; without it the command reports and changes nothing.")] = None,
    dry_run: DryRun = False,
) -> None:
    """Report unused, redundant and invalid indexes; drop those that are named, concurrently, and ANALYZE.

    Examples:

      knowledge-migration cleanup indexes

      knowledge-migration cleanup indexes --drop ix_messages_old --reason "unused since March"

      knowledge-migration cleanup indexes --recreate ix_messages_old --reason "the report needs it"
    """
    from knowledge_migration.commands.migrate import rows_table
    from knowledge_migration.engine.cleanup import indexes as engine

    installation = open_installation()
    if (drop or recreate) and not reason:
        raise PreconditionError("Say why with --reason; it goes to the audit log. Nothing was changed.")
    limits = installation.settings.schema_change
    if recreate and not dry_run:
        built = engine.recreate_index(installation.database, recreate, limits, reason=str(reason))
        console.print(f"Index {recreate} {'is built again' if built else 'is there already'}.")
    if reason and not recreate:
        done = engine.maintain_indexes(installation.database, limits, drop=drop or (), reason=reason, dry_run=dry_run)
        verb = "Would drop" if dry_run else "Dropped"
        console.print(
            f"{verb}: {', '.join(done.dropped) or 'none'}; gone already: {', '.join(done.gone_already) or 'none'}."
        )
    with installation.database.connect("cleanup indexes") as connection:
        report = engine.report_indexes(connection)
    rows = [finding.as_row for finding in report.findings]
    console.print(rows_table(rows) if rows else "Every index is valid, used and needed.")
    since = f"{report.statistics_since:%Y-%m-%d %H:%M} UTC" if report.statistics_since else "the database was made"
    console.print(f"Statistics count since {since}; scans on replicas are not among them.")
