"""`knowledge-migration rollback` and `restore`: each prints its plan first; destructive ones ask; none needs Dagster."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from knowledge_migration.commands.terminal import (
    DryRun,
    Reason,
    Yes,
    confirm,
    console,
    counting,
    listed,
    open_installation,
    say,
)
from knowledge_migration.knowledge.stages import PARTIAL_ROLLBACK_PERCENTAGE, RollbackKind

app = typer.Typer(help="The rollbacks; each prints its plan first.", no_args_is_help=True)


@app.command("instant")
def instant(reason: Reason, dry_run: DryRun = False, yes: Yes = False) -> None:
    """Undo phase 4, in seconds: proposals off for all users, dual write on; stranded proposals are replayed or parked.

    Destroys nothing, so it asks for no confirmation; `--yes` is accepted as everywhere.

    Example: knowledge-migration rollback instant --reason "errors in proposal mode"
    """
    _by_flags("instant", reason, dry_run)


@app.command(
    "partial",
    help=f"""Reduce phase 4, in seconds: proposals for {PARTIAL_ROLLBACK_PERCENTAGE} % of users only, dual write for the others.

    Destroys nothing, so it asks for no confirmation; `--yes` is accepted as everywhere.

    Example: knowledge-migration rollback partial --reason "twice as slow"
    """,
)
def partial(reason: Reason, dry_run: DryRun = False, yes: Yes = False) -> None:
    """Reduces the percentage."""
    _by_flags("partial", reason, dry_run)


def _by_flags(kind: RollbackKind, reason: str, dry_run: bool) -> None:
    from knowledge_migration.engine.rollback.flags import plan_rollback, roll_back

    installation = open_installation()
    database, initial, settings = installation.database, installation.initial_flags, installation.settings
    plan = plan_rollback(database, initial, settings, kind)
    console.print(f"Database {database.display}, flags of version {plan.before.version}: {plan.before.state}")
    changes = ", ".join(f"{name}={json.dumps(value)}" for name, value in plan.changes.items())
    console.print(
        f"Would set: {changes or 'nothing, the flags have these values'}; {len(plan.processes)} live processes acknowledge it"
    )
    stranded = plan.stranded if not plan.after.enabled else None
    if stranded:
        console.print(
            f"Would strand pending proposals: {listed(stranded.waiting)}; {sum(stranded.replayable.values()):,} reach "
            f"{settings.service.direct_threshold:g}, the threshold of direct mode"
        )
    if dry_run:
        return

    def acknowledged(seconds: float, processes: int) -> None:
        console.print(f"[bold]{processes} live processes have acknowledged after {seconds:.2f} s.[/]")

    with counting("replaying or parking", stranded.total if stranded else 0) as advance:
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
def backfill(reason: Reason, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Undo phase 3: unlink and delete the proposals of the backfill, and nothing else.

    Example: knowledge-migration rollback backfill --reason "wrong batch" --dry-run
    """
    from knowledge_migration.engine.rollback.backfill import backfill_extent, rollback_backfill

    installation = open_installation()
    database = installation.database
    with database.connect("backfill rollback") as connection:
        extent = backfill_extent(connection)
    console.print(f"Database {database.display}")
    if not any(extent.values()):
        console.print("The backfill has made no proposals here; there is nothing to roll back.")
        return
    console.print(f"Would unlink and delete: {listed(extent)}")
    if dry_run:
        return
    confirm("Delete these proposals?", yes)
    with counting("rolling back", sum(extent.values())) as advance:
        result = rollback_backfill(
            database, reason=reason, limits=installation.settings.backfill, on_rows=lambda _, rows: advance(rows)
        )
    console.print(
        f"Deleted {sum(result.deleted_proposals.values()):,} proposals in {result.seconds:.1f} s "
        f"({result.rows_per_second:,.0f} rows/s)."
    )


@app.command("dual-write")
def dual_write(reason: Reason, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Undo phase 2: switch dual write off, then delete its shadow proposals; decided and pending proposals stay.

    Example: knowledge-migration rollback dual-write --reason "too slow" --dry-run
    """
    from knowledge_migration.engine.rollback.dual_write import dual_write_extent, rollback_dual_write

    installation = open_installation()
    with installation.database.connect("dual write rollback") as connection:
        extent = dual_write_extent(connection)
    console.print(f"Database {installation.database.display}")
    console.print(
        f"Would switch dual write off, then unlink and delete: {listed(extent.shadows)}. "
        f"Would keep: {listed(extent.pending, 'pending ')}, which exist nowhere else."
    )
    if dry_run:
        return
    confirm("Switch dual write off and delete these proposals?", yes)
    with counting("rolling back", sum(extent.shadows.values())) as advance:
        result = rollback_dual_write(
            installation.database,
            installation.initial_flags,
            installation.settings.fence,
            reason=reason,
            limits=installation.settings.backfill,
            on_rows=lambda _, rows: advance(rows),
        )
    deleted = sum(result.deleted_proposals.values())
    console.print(f"Dual write is off; deleted {deleted:,} proposals in {result.seconds:.1f} s.")


@app.command("schema")
def schema(
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
    database, limits = installation.database, installation.settings.schema_change
    with database.connect("schema rollback") as connection:
        revision = current_revision(connection) or "none"
        without_copy = proposals_without_copy(connection)
    console.print(f"Database {database.display}, schema revision {revision}")
    if revision == "none":
        console.print("The schema phase has not been run here; there is nothing to roll back.")
        return
    console.print(
        "Would drop knowledge_extraction_runs, topic_proposals, atom_proposals, feature_flags and the link columns"
        f"{' and the schema migration' if everything else ''}; proposals that exist nowhere else: {without_copy or 'none'}"
    )
    if dry_run:
        return
    confirm("Drop them?", yes)
    result = rollback_schema(database, limits, reason=reason, export_to=export)
    if everything:
        downgrade(database, limits, to=None)
    console.print(f"Schema rolled back in {result.change.seconds:.1f} s; {result.exported_rows} rows exported.")


RestoreMissing = Annotated[
    bool,
    typer.Option(
        "--restore-missing",
        help="Insert rows again that are only in the backup; users delete rows too, so by default they are only counted.",
    ),
]


@app.command("full")
def full(reason: Reason, restore_missing: RestoreMissing = False, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Undo everything, online: flags, dual write, backfill, schema; then repair the differences from the backup.

    Rows that users wrote since the backup are kept. Proposals that exist nowhere else are exported first.

    Examples:

      knowledge-migration rollback full --reason "postponed" --dry-run

      knowledge-migration rollback full --reason "postponed" --yes
    """
    from knowledge_migration.engine.rollback.full import plan_full_rollback, rollback_full
    from knowledge_migration.engine.rollback.repair.repair import compare_with_backup

    installation = open_installation()
    options = installation.full_rollback_options(restore_missing=restore_missing)
    console.print(f"Database {installation.database.display}")
    plan = plan_full_rollback(installation.database, options)
    for number, step in enumerate(plan.steps, start=1):
        say(f"{number}. {step.name}: {step.message}")
    rows, pg_bin = sum(plan.backup.tables.values()), installation.settings.installation.pg_bin
    if dry_run or not yes:
        with counting("comparing with the backup", rows) as advance:
            comparison = compare_with_backup(
                installation.database, scratch=options.scratch, tools_dir=pg_bin, on_rows=lambda _, rows: advance(rows)
            )
        for line in comparison.altered:
            say(f"Changed since the backup without a later updated_at, would be reverted to the backup: {line}")
    if dry_run:
        return
    confirm("Roll all of it back?", yes)
    with counting("comparing with the backup", rows) as advance:
        result = rollback_full(
            installation.database,
            options,
            reason=reason,
            on_step=lambda step: say(f"{step.name} ({step.seconds:.1f} s): {step.message}"),
            on_rows=lambda _, rows: advance(rows),
        )
    _say_refused("not repaired", result.repair.refused)
    if result.repair.file:
        say(f"The rows as they were before the repair: {result.repair.file}")
    if result.export_file:
        say(f"The proposals: {result.export_file}")
    say(f"Everything is rolled back in {result.seconds:.1f} s. {result.comparison.sentence}")


def restore(
    reason: Reason,
    confirm_name: Annotated[
        str, typer.Option("--confirm", help="The database's name, typed exactly.", metavar="NAME")
    ] = "",
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Restore the whole database from the verified backup: the last resort, with all applications stopped.

    Restores beside the database, carries over the rows that users wrote since, then exchanges the names. The database as it
    was is kept under another name; proposals and flags live on there only.

    Examples:

      knowledge-migration restore --reason "disk damage" --dry-run

      knowledge-migration restore --reason "disk damage" --confirm tasktracker
    """
    from knowledge_migration.engine.rollback.database_restore import plan_database_restore, restore_database

    installation = open_installation()
    database = installation.database
    plan = plan_database_restore(database)
    say(
        f"Database {database.display}\n"
        f"Would restore {plan.backup.path.name} of {plan.backup.taken_at:%Y-%m-%d %H:%M} UTC ({plan.backup.rows:,} rows) into "
        f"a new database, carry over the rows that users wrote since, and keep the present one as {plan.keep_as}; "
        "proposals, flags and audit entries since the backup live on there only."
    )
    for session in plan.sessions:
        say(f"In the way: {session}")
    if dry_run:
        return
    if confirm_name == database.name:
        confirm("Are all applications stopped?", yes)
    with counting("comparing with the backup", sum(plan.backup.tables.values())) as advance:
        result = restore_database(
            database,
            confirm=confirm_name,
            directory=installation.exports,
            reason=reason,
            tools_dir=installation.settings.installation.pg_bin,
            progress=say,
            on_rows=lambda _, rows: advance(rows),
        )
    _say_refused("not taken", result.not_carried)
    say(result.sentence)
    if result.file:
        say(f"The rows that differed from the backup: {result.file}")


def _say_refused(what: str, rows: Iterable[Any]) -> None:
    for row in rows:
        say(f"{what}: {row.table} {', '.join(row.key)}: {row.reason}")
