"""`knowledge-migration rehearse` and `drill`: all phases and every rollback on a clone; needs no Dagster."""

from typing import TYPE_CHECKING

from rich.table import Table

from knowledge_migration.commands.setup import console, open_installation
from knowledge_migration.engine.foundation.errors import VerificationError

if TYPE_CHECKING:
    from knowledge_migration.engine.rehearsal.drill import Drill


def drill() -> None:
    """Run every rollback on a clone of the database, timed and compared; production is only read.

    The clone comes from the latest verified backup, on the scratch server, and is dropped at the end. Ends with exit code 1
    if a rollback left a row different or was too slow.

    Example: knowledge-migration drill
    """
    from knowledge_migration.engine.rehearsal.drill import record, run_drill

    installation = open_installation()
    with console.status("drilling") as status:
        done = run_drill(installation.database, installation.drill_options, progress=status.update)
    record(installation.database, done, plan_hash=installation.plan.hash)
    _show(done)


def rehearse() -> None:
    """Rehearse the whole migration on a clone, forecast production, and bind the plan; production is only read.

    The phases then refuse another plan (SQL, code, settings). Ends with exit code 1 if it failed.

    Example: knowledge-migration rehearse
    """
    from knowledge_migration.engine.rehearsal.rehearsal import rehearse as rehearse_now

    installation = open_installation()
    with console.status("rehearsing") as status:
        done = rehearse_now(
            installation.database,
            installation.drill_options,
            installation.plan,
            batch_size=installation.settings.backfill.batch_size,
            rate_limit_per_second=installation.settings.backfill.rate_limit_per_second,
            progress=status.update,
        )
    table = Table("phase", "rows", "seconds on the clone", "seconds per 1,000 rows", "seconds in production")
    for one in done.forecasts:
        each = "" if one.seconds_per_thousand is None else f"{one.seconds_per_thousand:.2f}"
        table.add_row(
            one.phase, f"{one.rows:,}", f"{one.seconds_on_clone:.1f}", each, f"{one.seconds_in_production:.0f}"
        )
    console.print(table)
    console.print(
        f"Plan {done.plan.hash[:16]}; production will take about {done.seconds_in_production:.0f} s and the bake times."
    )
    _show(done.drill)


def _show(done: "Drill") -> None:
    table = Table("rollback", "seconds", "limit", "rows", "legacy tables")
    for path in done.paths:
        equal = "equal" if not path.differences else "; ".join(path.differences)
        table.add_row(path.path, f"{path.seconds:.2f}", f"{path.target_seconds:.0f}", f"{path.rows:,}", equal)
    console.print(table)
    if not done.passed:
        raise VerificationError("A rollback left the legacy tables different, or was too slow; see the table above.")
    console.print(f"Every rollback passed; {done.seconds:.0f} s in total.")
