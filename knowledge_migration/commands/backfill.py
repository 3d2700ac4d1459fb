"""`knowledge-migration backfill` and `quarantine`: the backfill tried, steered and counted, and the rows that it set aside."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from knowledge_migration.commands.terminal import AsJson, console, open_installation, print_json, rows_table, show_rows

app = typer.Typer(help="Phase 3: try it, and control it while it runs.", no_args_is_help=True)
quarantine_app = typer.Typer(help="Rows that cannot become a proposal as they are.", no_args_is_help=True)


@app.command("dry-run")
def dry_run(
    batches: Annotated[int, typer.Option(help="Batches to try per table; each is rolled back.")] = 10,
) -> None:
    """Try a sample of the backfill in transactions that are rolled back, and forecast the whole.

    Example: knowledge-migration backfill dry-run --batches 50
    """
    from knowledge_migration.engine.backfill.dry_run import dry_run as forecast
    from knowledge_migration.engine.backfill.plan import make_plan

    installation = open_installation()
    settings = installation.settings.backfill
    with installation.database.connect("dry run") as connection:
        plans = make_plan(connection, partition_rows=settings.partition_rows, max_partitions=settings.max_partitions)
    rows = [
        {
            "table": one.table,
            "rows to do": f"{one.rows_to_do:,}",
            "rows sampled": f"{one.sampled_rows:,}",
            "failing batches": one.failing_batches,
            "rows/s": f"{one.rows_per_second:,.0f}",
            "WAL MiB": f"{one.wal_bytes / 2**20:,.1f}",
            "seconds at the rate limit": f"{one.limited_seconds:,.0f}",
            "seconds unlimited": f"{one.unlimited_seconds:,.0f}",
        }
        for one in forecast(installation.database, plans, settings, sample_batches=batches)
    ]
    console.print(rows_table(rows))


@app.command("control")
def control(
    pause: Annotated[
        bool | None, typer.Option("--pause/--resume", help="Pause a running backfill, or let it continue.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, max=50_000, help="Rows in a batch, at most.")] = None,
    rate: Annotated[float | None, typer.Option(min=0, help="Batches per second, at most; 0 is no limit.")] = None,
) -> None:
    """Show or change the controls of a running backfill; it follows them within a second.

    Examples:

      knowledge-migration backfill control --pause

      knowledge-migration backfill control --resume --batch-size 500 --rate 20
    """
    from knowledge_migration.engine.backfill.control import rate_text, read_control, set_control, size_text

    installation = open_installation()
    settings = installation.settings.backfill
    with installation.database.connect("backfill control") as connection:
        if (pause, batch_size, rate) == (None, None, None):
            now = read_control(connection)
        else:
            now = set_control(connection, paused=pause, batch_size=batch_size, rate_limit_per_second=rate)
    pace = f"{size_text(settings, now.batch_size)}, {rate_text(settings, now.rate_limit_per_second)}"
    console.print(f"{'paused' if now.paused else 'not paused'}, {pace}")


@app.command("status")
def status(as_json: AsJson = False) -> None:
    """Show the progress of the backfill, counted in the rows: linked or not, partitions done, quarantine, runners.

    Example: knowledge-migration backfill status
    """
    from knowledge_migration.engine.status.backfill import backfill_status

    with open_installation().database.connect("backfill status") as connection:
        now = backfill_status(connection)
    if as_json:
        print_json(asdict(now))
        return
    table = Table("table", "linked", "unlinked", "partitions done", "quarantine open", "to retry", "accepted")
    for one in now.tables:
        parts = "no plan yet" if one.partitions is None else f"{one.partitions_done} of {one.partitions}"
        counts = (one.quarantine_open, one.quarantine_retry, one.quarantine_accepted)
        table.add_row(one.table, f"{one.linked:,}", f"{one.unlinked:,}", parts, *(f"{count:,}" for count in counts))
    console.print(table)
    moments = [
        f"{event} {moment:%Y-%m-%d %H:%M:%S} UTC"
        for event, moment in (("begun", now.started_at), ("completed", now.completed_at))
        if moment
    ]
    console.print(f"The migration's run: {', '.join([now.run or 'not begun', *moments])}")
    for runner in now.runners:
        work = "rolling back" if runner.rolls_back else "running"
        console.print(f"{work}: pid {runner.pid}, {runner.application}, since {runner.since:%Y-%m-%d %H:%M:%S} UTC")
    if not now.runners:
        console.print("No runner is alive.")
    console.print(now.next_step)


@app.command("watch")
def watch(
    every_seconds: Annotated[float, typer.Option(min=0.1, help="Pause between two sweeps.")] = 10.0,
    once: Annotated[bool, typer.Option("--once", help="Sweep once and end.")] = False,
) -> None:
    """Link rows that appear without a proposal after the backfill, until it is interrupted; needs no Dagster daemon.

    A running service (knowledge-migration serve) does the same.

    Example: knowledge-migration backfill watch --every-seconds 5
    """
    import time

    from knowledge_migration.engine.backfill.completion import sweep_stragglers
    from knowledge_migration.engine.foundation.errors import BusyError

    installation, linked = open_installation(), 0
    while True:
        try:
            linked = sweep_stragglers(installation.database, installation.settings.backfill)
        except BusyError as error:  # another sweep, or a rollback
            console.print(str(error))
        if linked or once:
            console.print(f"{linked:,} rows linked.")
        if once:
            return
        time.sleep(every_seconds)


@quarantine_app.command("list")
def quarantine_list(
    state: Annotated[str | None, typer.Option(help="open, retry, accepted or resolved.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the rows that were set aside, with the reason.

    Example: knowledge-migration quarantine list --state open
    """
    from knowledge_migration.engine.backfill.quarantine import quarantined

    with open_installation().database.connect("quarantine") as connection:
        rows = quarantined(connection, state)
    show_rows(rows, as_json, none="No row is in quarantine.")


@quarantine_app.command("decide")
def quarantine_decide(
    entity: Annotated[str, typer.Argument(help="topic or atom")],
    row_ids: Annotated[list[int], typer.Argument(help="ids of the rows")],
    decision: Annotated[
        str, typer.Option(help="retry (fixed at its source), clamp (confidence) or accept (no proposal).")
    ],
    note: Annotated[str, typer.Option(help="Why; it is recorded in the audit log.")],
) -> None:
    """Decide about rows that were set aside; the next backfill or completion follows the decision.

    Example: knowledge-migration quarantine decide atom 17 23 --decision clamp --note "percent instead of share"
    """
    from typing import get_args

    from knowledge_migration.engine.backfill.quarantine import Decision, decide
    from knowledge_migration.knowledge.entity_kinds import KIND_BY_NAME

    if entity not in KIND_BY_NAME:
        raise typer.BadParameter(f"{entity} is neither topic nor atom")
    if decision not in get_args(Decision):
        raise typer.BadParameter(f"{decision} is none of {', '.join(get_args(Decision))}")
    with open_installation().database.connect("quarantine") as connection:
        decide(connection, KIND_BY_NAME[entity].name, row_ids, decision, note=note)  # type: ignore[arg-type]
    console.print(f"{decision} is recorded for {len(row_ids)} {entity}(s). Complete the backfill again to apply it.")
