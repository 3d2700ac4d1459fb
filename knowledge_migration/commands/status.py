"""`knowledge-migration status`, `report` and `alerts`: the state on one screen or as JSON, as a file, and to channels."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from knowledge_migration.commands.terminal import AsJson, console, dagster_project, open_installation, print_json, say
from knowledge_migration.engine.foundation.errors import MigrationError, PreconditionError

if TYPE_CHECKING:
    from knowledge_migration.engine.status.model import StatusSnapshot

alerts_app = typer.Typer(help="The channels of the alerts.", no_args_is_help=True)

BAR_WIDTH = 24
REPORTED_RUNS = 200
PLOTTED_DAYS = 30
SHOWN = 12
COLOURS = {
    "done": "green", "under way": "yellow", "not begun": "dim",
    "pass": "green", "fail": "red", "inconclusive": "yellow", "not evaluated": "dim",
    "passed": "green", "failed": "red", "warned": "yellow",
    "valid": "green", "not valid": "red", "too old": "yellow", "none yet": "dim",
}  # fmt: skip


def status(
    watch: Annotated[bool, typer.Option("--watch", help="Refresh every two seconds until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the state of the migration: phases, flags, stage, gates, review queue, checks, evidence, and what needs attention.

    Reads only, and takes under a second: a table that takes longer to count is estimated and shown with "about".

    Examples:

      knowledge-migration status

      knowledge-migration status --watch

      knowledge-migration status --json
    """
    from knowledge_migration.engine.status.snapshot import read_status

    installation = open_installation()

    def read() -> "StatusSnapshot":
        return read_status(installation.database, installation.settings)

    if as_json:
        print_json(read().as_json())
    elif watch:
        _watch(read)
    else:
        console.print(screen(read()))


def _watch(read: "Callable[[], StatusSnapshot]") -> None:
    with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
        try:
            while True:
                live.update(screen(read()), refresh=True)
                time.sleep(2)
        except KeyboardInterrupt:
            return


def screen(snapshot: "StatusSnapshot") -> RenderableType:
    """Everything on one screen."""
    parts: list[RenderableType] = [
        Text.assemble((f"{snapshot.database}  ", "bold"), (f"{snapshot.at:%Y-%m-%d %H:%M:%S} UTC", "dim")),
        _phases(snapshot),
        _flags(snapshot),
    ]
    if snapshot.gates:
        parts.append(_gates(snapshot))
    return Group(*parts, _facts(snapshot), _attention(snapshot))


def _phases(snapshot: "StatusSnapshot") -> Table:
    table = Table.grid(padding=(0, 2))
    for phase in snapshot.phases:
        colour = COLOURS[phase.state]
        left = f", {span(phase.eta_seconds)} left" if phase.eta_seconds else ""
        bar = ProgressBar(1.0, phase.share or 0.0, width=BAR_WIDTH, complete_style=colour, finished_style="green")
        table.add_row(f"{phase.number} {phase.name}", bar, Text(phase.state, colour), phase.message + left)
    return table


def _flags(snapshot: "StatusSnapshot") -> Text:
    flags = snapshot.flags
    if flags is None:
        return Text("\nflags: not set yet", style="dim")
    text = Text.assemble("\nflags: ", (flags.state.replace("_", " "), "bold"), f", version {flags.version}")
    if flags.values.get("enabled"):
        text.append(f", {flags.values['cutover_percentage']} % of {flags.values['audience']}")
    if flags.changed_at:
        text.append(f"; since {flags.changed_at:%Y-%m-%d %H:%M} UTC by {flags.changed_by} ({flags.reason})", "dim")
    return text


def _gates(snapshot: "StatusSnapshot") -> Table:
    title = f"gates at {snapshot.stage}" + (f", for {snapshot.next_stage}" if snapshot.next_stage else "")
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2), show_edge=False)
    for column in ("metric", "verdict", "value", "limit", "sample", "age"):
        table.add_column(column, justify="right" if column in ("value", "sample", "age") else "left", no_wrap=True)
    for gate in snapshot.gates:
        table.add_row(
            gate.metric,
            Text(gate.earlier or gate.verdict, COLOURS[gate.verdict]),
            "" if gate.value is None else f"{gate.value:.4g}",
            gate.limit,
            f"{gate.sample:,} of {gate.needed:,}",
            age(snapshot.at, gate.at),
        )
    return table


def _facts(snapshot: "StatusSnapshot") -> Table:
    """Review queue, writers, checks and evidence, one line each."""
    table = Table.grid(padding=(0, 2))
    table.add_row()
    oldest = min((queue.oldest for queue in snapshot.queues if queue.oldest), default=None)
    pending = f"{snapshot.pending:,} of {snapshot.queue_limit:,} pending"
    since = f", the oldest for {age(snapshot.at, oldest)}" if oldest else ""
    table.add_row("review queue", pending + since if snapshot.queues else "requires phase 1")
    modes = ", ".join(sorted({writer.mode.replace("_", " ") for writer in snapshot.writers}))
    table.add_row("live processes", f"{len(snapshot.writers)}" + (f" ({modes})" if modes else ""))
    table.add_row("checks", _checks(snapshot))
    for item in snapshot.evidence:
        when = f"  {age(snapshot.at, item.at)} ago" if item.at else ""
        table.add_row(item.name, Text.assemble((item.message, COLOURS[item.status(snapshot.at)]), when))
    return table


def _checks(snapshot: "StatusSnapshot") -> Text:
    if snapshot.checks is None:
        return Text("not available", "yellow")
    if not snapshot.checks:
        return Text("none yet", "dim")
    counts = {result: count for result, count in snapshot.checks_by_result.items() if count}
    last = age(snapshot.at, max(check.at for check in snapshot.checks if check.at))
    parts = [Text(f"{count} {result}", COLOURS[result]) for result, count in reversed(counts.items())]
    return Text.assemble(Text(", ").join(parts), f"; the latest {last} ago")


def _attention(snapshot: "StatusSnapshot") -> Text:
    if not snapshot.attention:
        return Text("\nNothing needs attention.", style="green")
    shown = [Text.assemble(("\n! ", "bold red"), message) for message in snapshot.attention[:SHOWN]]
    more = len(snapshot.attention) - SHOWN
    return Text.assemble(*shown, f"\n  and {more} more (--json lists all)" if more > 0 else "")


def age(now: datetime, at: datetime | None) -> str:
    """The time since a moment, in one unit."""
    return span((now - at).total_seconds()) if at else ""


def span(seconds: float) -> str:
    """A length of time, in one unit."""
    if seconds < 120:
        return f"{max(seconds, 0):.0f} s"
    if seconds < 7_200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"


def report(
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write; an existing one is replaced.")],
) -> None:
    """Write the migration report: checklists, inventory, timings, checks, gates, rollbacks, validation runs, audit log.

    Judges every criterion now and reads the rest from the records; changes nothing. The file opens without a network.

    Example: knowledge-migration report --output report.html
    """
    from knowledge_migration.engine.foundation import audit
    from knowledge_migration.engine.observability.report import gather, write
    from knowledge_migration.engine.status.snapshot import read_status

    installation = open_installation()
    with console.status("gathering"), installation.criteria_facts() as facts:
        snapshot = read_status(installation.database, installation.settings)
        since = snapshot.at - timedelta(days=PLOTTED_DAYS)
        contents = gather(snapshot, facts, _dagster_runs(), written_by=audit.operator(), since=since)
        write(contents, output)
    say(f"Written to {output}: {', '.join(f'{count} {verdict}' for verdict, count in contents.counts.items())}.")


def _dagster_runs() -> list[dict[str, Any]]:
    """The latest runs of Dagster, if this is its directory."""
    import dagster as dg

    try:
        dagster_project()
    except MigrationError:
        return []
    with dg.DagsterInstance.get() as instance:
        return [
            {
                "job": run.dagster_run.job_name,
                "status": run.dagster_run.status.value,
                "started": datetime.fromtimestamp(run.start_time, UTC),
                "seconds": round(run.end_time - run.start_time, 1) if run.end_time else None,
                "run": run.dagster_run.run_id[:8],
            }
            for run in instance.get_run_records(limit=REPORTED_RUNS)
            if run.start_time
        ]


@alerts_app.callback()
def alerts() -> None:
    """The channels of the alerts."""


@alerts_app.command("test")
def test() -> None:
    """Send a message to every channel of KNOWLEDGE_MIGRATION_ALERT_URLS; exit code 1 if one does not accept it.

    Example: KNOWLEDGE_MIGRATION_ALERT_URLS='["json://127.0.0.1:9000"]' knowledge-migration alerts test
    """
    installation = open_installation()
    channels = installation.alerts
    if not channels.urls:
        raise PreconditionError(
            "No channel is configured. List URLs of apprise: KNOWLEDGE_MIGRATION_ALERT_URLS='[\"…\"]'."
        )
    installation.refuse_unusable_channels()
    failures = channels.send("A test", f"Alerts about {installation.database.display} arrive here.", kind="info")
    for failure in failures:
        say(f"{failure.channel}: {failure.reason}")
    if failures:
        raise MigrationError(f"{len(failures)} of {len(channels.urls)} channels did not accept the message.")
    console.print(f"All {len(channels.urls)} channels accepted the message.")
