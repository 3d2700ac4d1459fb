"""`knowledge-migration recover` and `backfill status`: after an accident, what is broken, and what mends it (strategy §10.4).

Each command shows what it has found and what it would do, and asks before it does it; run again it goes on from there.
"""

import json
from typing import Annotated

import typer

from knowledge_migration.commands.installation import DryRun, Reason, Yes, console, installation
from knowledge_migration.engine.errors import PreconditionError

app = typer.Typer(
    help="After an accident: each command shows what is broken and mends it, audited.", no_args_is_help=True
)

OptionalReason = Annotated[str | None, typer.Option("--reason", help="Why; it goes to the audit log.")]


@app.command("flags")
def flags(reason: Reason, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Write a lost or damaged row of feature_flags back, as the audit log last had it.

    Every process of the service obeys those flags already, and obeys the row again within a second.

    Example: knowledge-migration recover flags --reason "row deleted by hand" --dry-run
    """
    from knowledge_migration.engine import audit
    from knowledge_migration.knowledge.flag_recovery import examine_flags, restore_flags
    from knowledge_migration.knowledge.flags import FlagsError

    _, env = installation()
    try:
        with env.database.begin() as transaction:
            found = examine_flags(transaction)
        if found.damage is None:
            console.print("The row of the flags is there and can be read; there is nothing to recover.")
            if found.differ:
                console.print(
                    "Somebody has written it past the audit log. What it should say: flags history, flags set."
                )
            return
        console.print(found.damage)
        if found.audited is None:
            raise PreconditionError(
                "The audit log holds no flags that could be brought back. Set each: knowledge-migration flags set --reset."
            )
        console.print(
            f"Last audited (version {found.audited.version}, state {found.audited.state}): "
            f"{json.dumps(found.audited.values)}"
        )
        if dry_run:
            return
        if not yes:
            typer.confirm("Write these back?", abort=True)
        with env.database.begin() as transaction:
            after, written = restore_flags(transaction, actor=audit.operator(), reason=reason)
    except FlagsError as error:
        raise PreconditionError(f"{error} Nothing was changed.") from error
    said = "Written back" if written else "Somebody else has mended it meanwhile"
    console.print(f"{said}: version {after.version}, state {after.state}.")


def backfill_status() -> None:
    """Show how far the backfill is."""
