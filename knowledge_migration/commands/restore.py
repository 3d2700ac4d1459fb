"""`knowledge-migration rollback full` and `knowledge-migration restore`: the rollbacks that use the verified backup."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated

import typer

from knowledge_migration.commands.setup import DryRun, Reason, Yes, console, open_installation

RestoreMissing = Annotated[
    bool,
    typer.Option(
        "--restore-missing",
        help="Bring rows back that are only in the backup; users delete rows too, so by default they are only counted.",
    ),
]


def rollback_full_command(
    reason: Reason, restore_missing: RestoreMissing = False, yes: Yes = False, dry_run: DryRun = False
) -> None:
    """Undo everything, online: flags, dual write, backfill, schema; then repair what differs from the backup.

    Rows that users wrote since the backup are kept. Proposals that exist nowhere else are exported first.

    Examples:

      knowledge-migration rollback full --reason "postponed" --dry-run

      knowledge-migration rollback full --reason "postponed" --yes
    """
    from knowledge_migration.engine.rollback.full import plan_full_rollback, rollback_full

    installation = open_installation()
    options = installation.full_rollback_options(restore_missing=restore_missing)
    console.print(f"Database {installation.database.display}")
    plan = plan_full_rollback(installation.database, options)
    for number, planned in enumerate(plan.steps, start=1):
        console.print(f"{number}. {planned.name}: {planned.message}", soft_wrap=True, markup=False)
    if dry_run:
        return
    if not yes:
        typer.confirm("Roll all of it back?", abort=True)
    with comparing(plan.backup.tables) as on_rows:
        done = rollback_full(
            installation.database,
            options,
            reason=reason,
            on_step=lambda step: console.print(
                f"{step.name} ({step.seconds:.1f} s): {step.message}", soft_wrap=True, markup=False
            ),
            on_rows=on_rows,
        )
    for refused in done.repair.refused:
        words = f"not repaired: {refused.table} {', '.join(refused.key)}: {refused.reason}"
        console.print(words, soft_wrap=True, markup=False)
    if done.repair.file:
        console.print(f"The rows as they were before the repair: {done.repair.file}", soft_wrap=True)
    if done.export_file:
        console.print(f"The proposals: {done.export_file}", soft_wrap=True)
    console.print(f"Everything is rolled back in {done.seconds:.1f} s. {done.comparison.sentence}", soft_wrap=True)


def restore_command(
    reason: Reason,
    confirm: Annotated[str, typer.Option("--confirm", help="The database's name, typed exactly.", metavar="NAME")] = "",
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Restore the whole database from the verified backup: the last resort, with all applications stopped.

    Restores beside the database, carries over what users wrote since, then exchanges the names. The database as it was is
    kept under another name; proposals and flags live on there only.

    Examples:

      knowledge-migration restore --reason "disk damage" --dry-run

      knowledge-migration restore --reason "disk damage" --confirm tasktracker
    """
    from knowledge_migration.engine.rollback.database_restore import plan_database_restore, restore_database

    installation = open_installation()
    plan = plan_database_restore(installation.database)
    console.print(
        f"Database {installation.database.display}\n"
        f"Would restore {plan.backup.path.name} of {plan.backup.taken_at:%Y-%m-%d %H:%M} UTC ({plan.backup.rows:,} rows) into "
        f"a new database, carry over the rows that users wrote since, and keep the present one as {plan.keep_as}; "
        "proposals, flags and audit entries since the backup live on there only.",
        soft_wrap=True,
        markup=False,
    )
    for session in plan.sessions:
        console.print(f"In the way: {session}", soft_wrap=True, markup=False)
    if dry_run:
        return
    if not yes and confirm == installation.database.name:
        typer.confirm("Are all applications stopped?", abort=True)
    with comparing(plan.backup.tables) as on_rows:
        done = restore_database(
            installation.database,
            confirm=confirm,
            directory=installation.exports,
            reason=reason,
            tools_dir=installation.settings.installation.pg_bin,
            progress=lambda words: console.print(words, soft_wrap=True, markup=False),
            on_rows=on_rows,
        )
    for refused in done.not_carried:
        words = f"not taken: {refused.table} {', '.join(refused.key)}: {refused.reason}"
        console.print(words, soft_wrap=True, markup=False)
    console.print(done.sentence, soft_wrap=True, markup=False)
    if done.file:
        console.print(f"The rows that differed from the backup: {done.file}", soft_wrap=True, markup=False)


@contextmanager
def comparing(tables: Mapping[str, int]) -> Iterator[Callable[[str, int], None]]:
    """A bar over the rows of the backup while they are compared; a second comparison goes over them again."""
    from knowledge_migration.commands.migrate import counting

    with counting(console, "comparing with the backup", sum(tables.values())) as advance:
        yield lambda _, rows: advance(rows)
