"""`knowledge-migration rollback`: each command prints its plan first; destructive ones ask; none needs Dagster."""

import json
from pathlib import Path
from typing import Annotated

import typer

from knowledge_migration.commands.setup import DryRun, Reason, Yes, console, open_installation
from knowledge_migration.knowledge.stages import RollbackKind

app = typer.Typer(help="The rollbacks; each prints its plan first.", no_args_is_help=True)


@app.command("instant")
def instant(reason: Reason, dry_run: DryRun = False, yes: Yes = False) -> None:
    """Undo phase 4, in seconds: proposals off for all users, dual write on; stranded proposals are replayed or parked.

    Destroys nothing, so it asks for no confirmation; `--yes` is accepted as everywhere.

    Example: knowledge-migration rollback instant --reason "errors in proposal mode"
    """
    _by_flags("instant", reason, dry_run=dry_run)


@app.command("partial")
def partial(reason: Reason, dry_run: DryRun = False, yes: Yes = False) -> None:
    """Reduce phase 4, in seconds: proposals for 10 % of users only, dual write for the others.

    Destroys nothing, so it asks for no confirmation; `--yes` is accepted as everywhere.

    Example: knowledge-migration rollback partial --reason "twice as slow"
    """
    _by_flags("partial", reason, dry_run=dry_run)


def _by_flags(kind: RollbackKind, reason: str, *, dry_run: bool) -> None:
    from knowledge_migration.commands.migrate import counting
    from knowledge_migration.engine.rollback.flags import plan_rollback, roll_back

    installation = open_installation()
    database, initial, settings = installation.database, installation.initial_flags, installation.settings
    plan = plan_rollback(database, initial, settings, kind)
    threshold = settings.service.direct_threshold
    console.print(f"Database {database.display}, flags of version {plan.before.version}: {plan.before.state}")
    changes = ", ".join(f"{name}={json.dumps(value)}" for name, value in plan.changes.items())
    console.print(
        f"Would set: {changes or 'nothing, the flags have these values'}; {len(plan.processes)} live processes acknowledge it"
    )
    stranded = plan.stranded if not plan.after.enabled else None
    if stranded:
        waiting = ", ".join(f"{count:,} {name}" for name, count in stranded.waiting.items())
        reaching = sum(stranded.replayable.values())
        console.print(
            f"Would strand pending proposals: {waiting}; {reaching:,} reach {threshold:g}, the threshold of direct mode"
        )
    if dry_run:
        return

    def acknowledged(seconds: float, processes: int) -> None:
        console.print(f"[bold]{processes} live processes have acknowledged after {seconds:.2f} s.[/]")

    with counting(console, "replaying or parking", stranded.total if stranded else 0) as advance:
        result = roll_back(
            database,
            initial,
            settings,
            kind,
            reason=reason,
            on_acknowledged=acknowledged,
            on_settled=lambda *_: advance(1),
        )
    console.print(f"The flags have version {result.after.version}: {result.after.state}.")
    for outcome, counts in (("Replayed", result.settled.replayed), ("Parked", result.settled.parked)):
        if any(counts.values()):
            console.print(f"{outcome}: {', '.join(f'{count:,} {name} proposals' for name, count in counts.items())}.")
    if result.settled.enabled_again:
        console.print("Proposals have been switched on again meanwhile; those still pending are not stranded any more.")


@app.command("backfill")
def rollback_backfill_command(reason: Reason, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Undo phase 3: unlink and delete what the backfill made, and nothing else.

    Example: knowledge-migration rollback backfill --reason "wrong batch" --dry-run
    """
    from knowledge_migration.commands.migrate import counting
    from knowledge_migration.engine.rollback.backfill import backfill_extent, rollback_backfill

    installation = open_installation()
    with installation.database.connect("backfill rollback") as connection:
        extent = backfill_extent(connection)
    console.print(f"Database {installation.database.display}")
    if not any(extent.values()):
        console.print("The backfill has made no proposals here; there is nothing to take back.")
        return
    console.print(f"Would unlink and delete: {', '.join(f'{count:,} {name}' for name, count in extent.items())}")
    if dry_run:
        return
    if not yes:
        typer.confirm("Delete these proposals?", abort=True)
    with counting(console, "rolling back", sum(extent.values())) as advance:
        undone = rollback_backfill(installation.database, reason=reason, on_rows=lambda _, rows: advance(rows))
    console.print(
        f"Deleted {sum(undone.deleted_proposals.values()):,} proposals in {undone.seconds:.1f} s "
        f"({undone.rows_per_second:,.0f} rows/s)."
    )


@app.command("dual-write")
def rollback_dual_write_command(reason: Reason, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Undo phase 2: dual write off, then its shadow proposals away; what reviewers decided, and what waits, stays.

    Example: knowledge-migration rollback dual-write --reason "too slow" --dry-run
    """
    from knowledge_migration.commands.migrate import counting
    from knowledge_migration.engine.rollback.dual_write import dual_write_extent, rollback_dual_write

    installation = open_installation()
    with installation.database.connect("dual write rollback") as connection:
        extent = dual_write_extent(connection)
    console.print(f"Database {installation.database.display}")
    console.print(
        "Would switch dual write off, then unlink and delete: "
        f"{', '.join(f'{count:,} {name}' for name, count in extent.shadows.items())}. Would keep: "
        f"{', '.join(f'{count:,} pending {name}' for name, count in extent.pending.items())}, which exist nowhere else."
    )
    if dry_run:
        return
    if not yes:
        typer.confirm("Switch dual write off and delete these proposals?", abort=True)
    with counting(console, "rolling back", sum(extent.shadows.values())) as advance:
        undone = rollback_dual_write(
            installation.database,
            installation.initial_flags,
            installation.settings.fence,
            reason=reason,
            limits=installation.settings.backfill,
            on_rows=lambda _, rows: advance(rows),
        )
    console.print(
        f"Dual write is off; deleted {sum(undone.deleted_proposals.values()):,} proposals in {undone.seconds:.1f} s."
    )


@app.command("schema")
def rollback_schema_command(
    reason: Reason,
    export: Annotated[
        Path | None, typer.Option(help="File for proposals that exist nowhere else (JSON lines).")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Remove our own schema `migration` with the evidence too.")
    ] = False,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Undo phase 1: drop the proposal tables and the link columns; roll the backfill back first.

    Example: knowledge-migration rollback schema --reason "postponed" --export proposals.jsonl
    """
    from knowledge_migration.engine.foundation.own_objects import current_revision
    from knowledge_migration.engine.rollback.schema import proposals_without_copy, rollback_schema
    from knowledge_migration.engine.schema.upgrade import downgrade

    installation = open_installation()
    with installation.database.connect("schema rollback") as connection:
        revision = current_revision(connection) or "none"
        precious = proposals_without_copy(connection)
    console.print(f"Database {installation.database.display}, schema revision {revision}")
    if revision == "none":
        console.print("The schema phase has not been run here; there is nothing to take back.")
        return
    console.print(
        "Would drop knowledge_extraction_runs, topic_proposals, atom_proposals, feature_flags and the link columns"
        f"{' and the schema migration' if everything else ''}; proposals that exist nowhere else: {precious or 'none'}"
    )
    if dry_run:
        return
    if not yes:
        typer.confirm("Drop them?", abort=True)
    limits = installation.settings.schema_change
    undone = rollback_schema(installation.database, limits, reason=reason, export_to=export)
    if everything:
        downgrade(installation.database, limits, to=None)
    console.print(f"Schema rolled back in {undone.change.seconds:.1f} s; {undone.exported_rows} rows exported.")
