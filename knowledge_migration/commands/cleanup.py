"""`knowledge-migration cleanup`: phase 5 and its reversal; needs neither Dagster nor the service."""

from typing import Annotated
from uuid import UUID

import typer

from knowledge_migration.commands.terminal import (
    AsJson,
    DryRun,
    Reason,
    Yes,
    confirm,
    console,
    open_installation,
    show_rows,
)
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.settings import MOST_DAYS

app = typer.Typer(
    help="Phase 5: retire the old paths, archive old extractions, maintain indexes.", no_args_is_help=True
)

Without = Annotated[list[str] | None, typer.Option("--without", help="A table (topics, atoms) that gets no rule.")]


@app.command("status")
def status() -> None:
    """Show the progress of phase 5 and its obstacles; changes nothing.

    Example: knowledge-migration cleanup status
    """
    from knowledge_migration.engine.cleanup.archive import archive_extent
    from knowledge_migration.engine.cleanup.indexes import report_indexes
    from knowledge_migration.engine.cleanup.retirement import readiness

    installation = open_installation()
    database = installation.database
    settings = installation.settings
    state = readiness(database, required_days=settings.cleanup.stable_days, live_seconds=settings.fence.live_seconds)
    console.print(f"Database {database.display}")
    console.print(state.stability.sentence)
    console.print(f"The old paths are {'retired' if state.retired else 'open'}.")
    for table, rule in state.constraints.items():
        console.print(f"The rule that every row of {table} comes from a proposal: {rule}.")
    for obstacle in state.obstacles:
        console.print(f"In the way: {obstacle}")
    console.print(f"Live processes of the service: {', '.join(state.live_writers) or 'none'}")
    with database.connect("cleanup status") as connection:
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
        str | None, typer.Option(help="Why full cutover need not have been stable for long enough; it is audited.")
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
    settings = installation.settings
    state = retirement.readiness(
        installation.database,
        required_days=settings.cleanup.stable_days,
        live_seconds=settings.fence.live_seconds,
        without=tuple(without or ()),
    )
    console.print(f"Database {installation.database.display}. {state.stability.sentence}")
    for obstacle in state.obstacles:
        console.print(f"In the way: {obstacle}")
    if dry_run:
        console.print("Would do nothing." if state.obstacles and not override else "Would retire the old paths.")
        return
    confirm("Retire direct writes and dual write?", yes)
    result = retirement.retire(
        installation.database,
        installation.initial_flags,
        settings.fence,
        settings.schema_change,
        required_days=settings.cleanup.stable_days,
        reason=reason,
        override=override,
        without=tuple(without or ()),
        no_live_writers=settings.dual_write.no_live_writers,
    )
    ruled = [table for table, state in result.constraints.items() if state is not None]
    console.print(
        f"The old paths are retired (flags version {result.flags.version}); the database refuses rows without a proposal in: "
        f"{', '.join(ruled) or 'no table'}. {result.seconds:.1f} s."
    )


@app.command("reopen")
def reopen(reason: Reason, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Undo a retirement: drop the rules of the database, unlock the flags, switch dual write on. Extractions stay proposals.

    Example: knowledge-migration cleanup reopen --reason "rolling back"
    """
    from knowledge_migration.engine.cleanup import completeness, retirement

    installation = open_installation()
    with installation.database.connect("cleanup status") as connection:
        states = completeness.states(connection)
    ruled = [table for table, state in states.items() if state != "missing"]
    console.print(f"Database {installation.database.display}; tables with the rule: {', '.join(ruled) or 'none'}.")
    if dry_run:
        return
    confirm("Open the old paths?", yes)
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
    older_than_days: Annotated[
        float | None,
        typer.Option(
            min=0, max=MOST_DAYS, help="Runs that began longer ago are moved.", show_default="ARCHIVE_OLDER_THAN_DAYS"
        ),
    ] = None,
    batch_runs: Annotated[int, typer.Option(min=1, max=10_000, help="Runs in one transaction.")] = 100,
    restore: Annotated[UUID | None, typer.Option(help="Restore this run from the archive instead.")] = None,
    dry_run: DryRun = False,
) -> None:
    """Move old extraction runs that are no longer needed into the archive, with their proposals.

    Examples:

      knowledge-migration cleanup archive --reason "tidying" --dry-run

      knowledge-migration cleanup archive --reason "an auditor asks" --restore 7b0c6f9e-3c0e-4a57-8a39-0f4f6f3a6d11
    """
    from knowledge_migration.engine.cleanup.archive import archive_extractions, restore_archived

    installation = open_installation()
    settings = installation.settings
    if restore and not dry_run:
        run = restore_archived(installation.database, restore, reason=reason)
        console.print(
            f"Run {restore} is restored with {run.topic_proposals} topic and {run.atom_proposals} atom proposals."
        )
        return
    if restore:
        raise PreconditionError("--restore has no dry run.")
    result = archive_extractions(
        installation.database,
        reason=reason,
        older_than_days=settings.cleanup.archive_older_than_days if older_than_days is None else older_than_days,
        batch_runs=batch_runs,
        dry_run=dry_run,
        limits=settings.schema_change,
    )
    console.print(
        f"{'Would move' if dry_run else 'Moved'} {result.runs:,} runs with {result.topic_proposals:,} topic and "
        f"{result.atom_proposals:,} atom proposals."
    )
    for why, count in sorted(result.kept.items()):
        console.print(f"{count:,} runs stay: {why}.")


@app.command("indexes")
def indexes(
    drop: Annotated[list[str] | None, typer.Option("--drop", help="An index to drop; repeatable.")] = None,
    recreate: Annotated[str | None, typer.Option(help="Rebuild an index that was dropped here.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why; without a reason the command only reports.")] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Report unused, redundant and invalid indexes; drop those that are named, concurrently, and ANALYZE.

    Examples:

      knowledge-migration cleanup indexes

      knowledge-migration cleanup indexes --drop ix_messages_old --reason "unused since March"

      knowledge-migration cleanup indexes --recreate ix_messages_old --reason "the report needs it"
    """
    from knowledge_migration.engine.cleanup import indexes as engine

    installation = open_installation()
    if (drop or recreate) and not reason:
        raise PreconditionError("Give a --reason; it is recorded in the audit log. Nothing was changed.")
    limits = installation.settings.schema_change
    if recreate and not dry_run:
        built = engine.recreate_index(installation.database, recreate, limits, reason=str(reason))
        console.print(f"Index {recreate} {'is rebuilt' if built else 'exists already'}.")
    if reason and not recreate:
        result = engine.maintain_indexes(installation.database, limits, drop=drop or (), reason=reason, dry_run=dry_run)
        verb = "Would drop" if dry_run else "Dropped"
        console.print(
            f"{verb}: {', '.join(result.dropped) or 'none'}; missing already: {', '.join(result.gone_already) or 'none'}."
        )
    with installation.database.connect("cleanup indexes") as connection:
        report = engine.report_indexes(connection)
    rows = [finding.as_row for finding in report.findings]
    show_rows(rows, as_json, none="Every index is valid, used and needed.")
    if as_json:
        return
    since = f"{report.statistics_since:%Y-%m-%d %H:%M} UTC" if report.statistics_since else "the database was created"
    console.print(f"Statistics count since {since}, without scans on replicas.")
