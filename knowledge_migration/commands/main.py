"""The `knowledge-migration` command: the phases without the UI, the ways back, and the operator's decisions.

Every command reads the settings from the environment (see `knowledge-migration settings`). Errors that the migration
raises on purpose end it with exit code 1 and one sentence; nothing is half done then.
"""

from typing import Annotated, NoReturn

import psycopg
import typer
from rich.console import Console
from rich.text import Text

from knowledge_migration.commands import (
    alerts,
    cleanup,
    criteria,
    cutover,
    flags,
    functional,
    recovery,
    rehearsal,
    report,
    restore,
    rollback,
    service,
    status,
    traffic,
)
from knowledge_migration.commands.setup import console, dagster_project, open_installation, project_directory
from knowledge_migration.engine.foundation.database import NOT_SO_FAR
from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration.settings import SettingsError, load_settings

app = typer.Typer(
    help="Moves a live PostgreSQL application to a proposal workflow: no downtime, no data loss, with proof.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
backfill_app = typer.Typer(help="Phase 3: try it, steer it while it runs.", no_args_is_help=True)
quarantine_app = typer.Typer(help="Rows that cannot become a proposal as they are.", no_args_is_help=True)
app.add_typer(backfill_app, name="backfill")
app.add_typer(quarantine_app, name="quarantine")
app.add_typer(rollback.app, name="rollback")
app.add_typer(cutover.app, name="cutover")
app.add_typer(criteria.app, name="criteria")
app.add_typer(alerts.app, name="alerts")
app.add_typer(cleanup.app, name="cleanup")
app.add_typer(recovery.app, name="recover")
backfill_app.command("status")(recovery.backfill_status)
app.add_typer(flags.app, name="flags")
app.add_typer(service.proposals_app, name="proposals")
app.add_typer(service.dual_write_app, name="dual-write")
rollback.app.command("full")(restore.rollback_full_command)
app.command("restore")(restore.restore_command)
app.command("rehearse")(rehearsal.rehearse)
app.command("drill")(rehearsal.drill)
app.command("functional")(functional.functional)
app.command("load-test")(functional.load_test)
app.command("report")(report.report)
app.command("status")(status.status)
app.command("serve")(service.serve)
app.command("traffic")(traffic.traffic)


def main() -> None:
    """Runs a command; an error that is meant for the operator is one sentence and exit code 1."""
    try:
        app()
    except (MigrationError, SettingsError) as error:
        _fail(type(error).__name__, str(error), error)
    except NOT_SO_FAR as error:
        _fail(
            "PreconditionError",
            f"{_first_line(error)}. This database has not come so far: run phase 0 and 1 first.",
            error,
        )
    except psycopg.errors.InsufficientPrivilege as error:
        _fail(
            "MissingRight", f"{_first_line(error)}. Preflight (phase 0) names each missing right and its GRANT.", error
        )
    except psycopg.OperationalError as error:
        _fail("ConnectionLost", f"{_first_line(error)}. What was committed stays; run the command again.", error)


def _fail(kind: str, words: str, error: Exception) -> NoReturn:
    Console(stderr=True, highlight=False, soft_wrap=True).print(Text.assemble((kind, "bold red"), f": {words}"))
    raise SystemExit(1) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")


@app.command()
def migrate() -> None:
    """Run phases 0 to 4 on the database that the settings name, or on a demonstration.

    Examples:

      knowledge-migration migrate

      KNOWLEDGE_MIGRATION_DATABASE_URL=postgresql://user@host/tasktracker knowledge-migration migrate
    """
    from knowledge_migration.commands.migrate import run_migrate

    dagster_project()
    if not run_migrate(console, open_installation()):
        raise SystemExit(1)


@app.command()
def ui(
    port: Annotated[int, typer.Option(help="Loopback port; 0 takes a free one.")] = 0,
) -> None:
    """Open the project in `dagster dev`, with the history of all runs.

    Example: knowledge-migration ui --port 3000
    """
    from knowledge_migration.commands.migrate import run_ui

    open_installation().refuse_unusable_channels()
    raise SystemExit(run_ui(console, dagster_project(), port))


@app.command(name="environment")
def print_environment() -> None:
    """Print the variables that `dagster` commands need, for a shell to take over while `ui` runs.

    Example: eval "$(knowledge-migration environment)"
    """
    from shlex import quote

    for name, value in open_installation().process_variables(project_directory()).items():
        print(f"export {name}={quote(value)}")


@app.command()
def stop() -> None:
    """Stop the embedded server of this directory, if it runs."""
    from knowledge_migration.engine.foundation.embedded_server import stop as stop_server
    from knowledge_migration.installation import embedded_directory

    stopped = stop_server(embedded_directory(load_settings()))
    console.print("The embedded server is stopped." if stopped else "No embedded server runs here.")


@app.command(name="settings")
def print_settings() -> None:
    """List every setting: its variable, value and meaning."""
    from knowledge_migration.commands.migrate import settings_table

    console.print(settings_table(load_settings()))


@backfill_app.command("dry-run")
def backfill_dry_run(
    batches: Annotated[int, typer.Option(help="Batches to try per table; each is rolled back.")] = 10,
) -> None:
    """Try a sample of the backfill in transactions that are rolled back, and forecast the whole.

    Example: knowledge-migration backfill dry-run --batches 50
    """
    from knowledge_migration.commands.migrate import forecast_table
    from knowledge_migration.engine.backfill.dry_run import dry_run
    from knowledge_migration.engine.backfill.plan import make_plan

    installation = open_installation()
    settings = installation.settings.backfill
    with installation.database.connect("dry run") as connection:
        plans = make_plan(connection, width_ids=settings.partition_ids, max_partitions=settings.max_partitions)
    console.print(forecast_table(dry_run(installation.database, plans, settings, sample_batches=batches)))


@backfill_app.command("control")
def backfill_control(
    pause: Annotated[
        bool | None, typer.Option("--pause/--resume", help="Hold a running backfill, or let it go on.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, max=50_000, help="Rows in a batch.")] = None,
    rate: Annotated[float | None, typer.Option(min=0, help="Batches per second; 0 is no limit.")] = None,
) -> None:
    """Show or change what a running backfill obeys, within a second.

    Examples:

      knowledge-migration backfill control --pause

      knowledge-migration backfill control --resume --batch-size 500 --rate 20
    """
    from knowledge_migration.engine.backfill.control import read_control, set_control

    installation = open_installation()
    settings = installation.settings.backfill
    with installation.database.connect("backfill control") as connection:
        changes = pause is not None or batch_size is not None or rate is not None
        now = (
            set_control(connection, paused=pause, batch_size=batch_size, rate_limit_per_second=rate)
            if changes
            else read_control(connection)
        )
        size = now.batch_size or settings.batch_size
        speed = settings.rate_limit_per_second if now.rate_limit_per_second is None else now.rate_limit_per_second
        limit = f"{speed:g} batches per second" if speed else "no rate limit"
        console.print(f"{'paused' if now.paused else 'not paused'}, {size} rows in a batch, {limit}")


@quarantine_app.command("list")
def quarantine_list(
    state: Annotated[str | None, typer.Option(help="open, retry, accepted or resolved.")] = None,
) -> None:
    """Show the rows that were set aside, with the reason."""
    from knowledge_migration.commands.migrate import rows_table
    from knowledge_migration.engine.backfill.quarantine import quarantined

    installation = open_installation()
    with installation.database.connect("quarantine") as connection:
        rows = quarantined(connection, state)
        console.print(rows_table(rows) if rows else "No row is in quarantine.")


@quarantine_app.command("decide")
def quarantine_decide(
    entity: Annotated[str, typer.Argument(help="topic or atom")],
    row_ids: Annotated[list[int], typer.Argument(help="ids of the rows")],
    decision: Annotated[
        str, typer.Option(help="retry (fixed at its source), clamp (confidence) or accept (no proposal).")
    ],
    note: Annotated[str, typer.Option(help="Why; it goes to the audit log.")],
) -> None:
    """Decide about rows that were set aside; the next backfill or completion acts on it.

    Example: knowledge-migration quarantine decide atom 17 23 --decision clamp --note "percent instead of share"
    """
    from typing import get_args

    from knowledge_migration.engine.backfill.quarantine import Decision, decide
    from knowledge_migration.knowledge.entity_kinds import KIND_BY_NAME

    if entity not in KIND_BY_NAME:
        raise typer.BadParameter(f"{entity} is neither topic nor atom")
    if decision not in get_args(Decision):
        raise typer.BadParameter(f"{decision} is none of {', '.join(get_args(Decision))}")
    installation = open_installation()
    with installation.database.connect("quarantine") as connection:
        decide(connection, KIND_BY_NAME[entity].name, row_ids, decision, note=note)  # type: ignore[arg-type]
    console.print(f"Decided for {len(row_ids)} {entity}(s): {decision}. Complete the backfill again to act on it.")


if __name__ == "__main__":
    main()
