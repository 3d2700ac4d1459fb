"""What the command line shows: bars on a terminal, plain lines elsewhere, tables, and the summary of a migration."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from knowledge_migration.engine.backfill.dry_run import Forecast
from knowledge_migration.engine.foundation import progress as reports
from knowledge_migration.installation import Installation
from knowledge_migration.settings import Settings, variables

LINES_PER_WORK = 4


class ProgressLines:
    """Draws a bar per piece of work on a terminal, and prints a line now and then elsewhere."""

    def __init__(self, console: Console) -> None:
        """Shows on `console`."""
        self.console = console
        self.bars = Progress(
            TextColumn("  {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[words]}"),
            TimeElapsedColumn(),
            console=console,
            transient=False,
        )
        self.tasks: dict[tuple[str, int | None], TaskID] = {}
        self.printed: dict[tuple[str, int | None], int] = {}

    def __call__(self, report: reports.Report) -> None:
        """Shows one report."""
        if self.console.is_terminal:
            self._bar(report)
        else:
            self._line(report)

    def _bar(self, report: reports.Report) -> None:
        if report.total is None:
            self.bars.console.print(f"  [dim]{report.work}: {report.message}[/]")
            return
        key = (report.work, report.total)
        if key not in self.tasks:
            self.tasks[key] = self.bars.add_task(report.work, total=report.total, words="")
        self.bars.update(self.tasks[key], completed=report.done or 0, words=report.message)

    def _line(self, report: reports.Report) -> None:
        if report.total is None:
            self.console.print(f"  {report.work}: {report.message}")
            return
        quarter = LINES_PER_WORK * (report.done or 0) // max(report.total, 1)
        key = (report.work, report.total)
        if self.printed.get(key) != quarter:
            self.printed[key] = quarter
            self.console.print(f"  {report.work}: {report.done:,} of {report.total:,} {report.unit}, {report.message}")


def run_migrate(console: Console, installation: Installation) -> bool:
    """Runs the migration and prints its summary; True when every phase succeeded."""
    import dagster as dg

    from knowledge_migration.commands.phase_runs import PhaseSummary, migrate, migrated, serve_probes_at
    from knowledge_migration.demo.live_application import REQUESTS_PER_SECOND, LiveApplication, live_application
    from knowledge_migration.demo.loader import prepare_demonstration

    console = _own_terminal(console)
    console.print(f"Database: {installation.database.display}")
    lines = ProgressLines(console)
    summaries: list[PhaseSummary] = []
    application: LiveApplication | None = None
    cutover: Callable[..., tuple[str, int]] | None = None
    with reports.listening(lines), lines.bars, ExitStack() as stack:
        if installation.settings.uses_demonstration:
            console.print("[bold]Demonstration: the documentation of this Python as a knowledge base[/]")
            loaded = prepare_demonstration(
                installation.database, lambda table, rows: lines(reports.Report("load", f"{rows:,} {table}"))
            )
            if loaded is None:
                console.print("  already there")
            if not migrated(installation.database):
                cutover = _scaled_down_cutover(console, installation)
                application = stack.enter_context(live_application(installation.settings.home / "logs"))
                console.print(
                    f"  the application runs at {application.url}, with {REQUESTS_PER_SECOND} requests per second"
                )
                serve_probes_at(application.url)
        with dg.DagsterInstance.get() as instance:
            for summary in migrate(
                installation.database,
                instance,
                on_phase=lambda name: console.print(f"[bold]Phase {name}[/]"),
                cutover=cutover and partial(cutover, service_url=application.url if application else ""),
            ):
                summaries.append(summary)
    console.print(summary_table(summaries))
    _print_findings(console, summaries)
    succeeded = all(summary.succeeded for summary in summaries)
    if application and application.traffic:
        succeeded = _print_traffic(console, installation, application.traffic) and succeeded
    _print_next(console, installation, succeeded, changed=any(not summary.skipped for summary in summaries))
    return succeeded


def _scaled_down_cutover(console: Console, installation: Installation) -> Callable[..., tuple[str, int]]:
    """Phase 4 of the demonstration, after its settings are set and shown."""
    import json

    from knowledge_migration.commands.phase_runs import Runs
    from knowledge_migration.demo.cutover import SCALED_DOWN, Daemon, demonstrate_cutover, scale_down
    from knowledge_migration.engine.foundation.database import Database

    scale_down(installation.database)
    table = Table(
        "setting", "in this demonstration", title="Scaled down, so that days take seconds", title_justify="left"
    )
    for name, value in SCALED_DOWN.items():
        table.add_row(name, json.dumps(value))
    table.add_row("KNOWLEDGE_PROPOSALS_ADMIN_USER_IDS", "every second user")
    console.print(table)

    def work(runs: Runs, database: Database, service_url: str) -> tuple[str, int]:
        daemon = Daemon(
            runs.instance,
            runs.definitions,
            lambda request: runs.attempt(str(request.job_name), partition=request.partition_key, tags=request.tags),
        )
        return demonstrate_cutover(daemon, database, service_url, lambda words: console.print(f"  {words}")), 0

    return work


def _own_terminal(console: Console) -> Console:
    """The same terminal through a descriptor of its own: while a step runs, Dagster captures the process's output."""
    if not console.is_terminal:
        return console
    return Console(file=os.fdopen(os.dup(console.file.fileno()), "w"), highlight=False)


def summary_table(summaries: Sequence[Any]) -> Table:
    """Phase by phase: what was done, rows, seconds, checks passed and failed."""
    table = Table(title="Migration", title_justify="left")
    for column, justify in (
        ("phase", "left"),
        ("what was done", "left"),
        ("rows", "right"),
        ("seconds", "right"),
        ("checks passed", "right"),
        ("failed", "right"),
        ("warned", "right"),
    ):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for summary in summaries:
        passed = sum(check.succeeded for check in summary.checks)
        warned = sum(check.result == "warned" for check in summary.checks)
        failed = len(summary.failed_checks)
        table.add_row(
            summary.phase,
            Text(summary.done, style="" if summary.succeeded else "red"),
            f"{summary.rows:,}" if summary.rows is not None else "-",
            f"{summary.seconds:.1f}" if not summary.skipped else "-",
            str(passed) if not summary.skipped else "-",
            Text(str(failed), style="red" if failed else "") if not summary.skipped else "-",
            str(warned) if not summary.skipped else "-",
        )
    return table


def _print_traffic(console: Console, installation: Installation, traffic: dict[str, Any]) -> bool:
    """What the users saw meanwhile, kept as evidence; True when nobody was failed and nothing is lost."""
    from knowledge_migration.engine.foundation import evidence

    with installation.database.connect("live traffic") as connection:
        evidence.record(connection, "live_traffic", traffic)
    style = "green" if traffic["passed"] else "red"
    console.print(f"[bold]Live traffic all the while:[/] [{style}]{traffic['sentence']}[/]", soft_wrap=True)
    for words in (*traffic["failures"], *(f"{lost['what']} {lost['why']}" for lost in traffic["lost"][:20])):
        console.print(f"  {words}", markup=False, soft_wrap=True)
    return bool(traffic["passed"])


def _print_findings(console: Console, summaries: Sequence[Any]) -> None:
    for summary in summaries:
        for error in summary.errors:
            console.print(f"[red]phase {summary.phase}[/] {error}", soft_wrap=True)
        for check in {(check.asset, check.name): check for check in summary.checks}.values():  # the latest of each
            if not check.succeeded:
                style = "yellow" if check.warns else "red"
                console.print(f"[{style}]{check.asset}.{check.name}[/] {check.message}", soft_wrap=True)


def _print_next(console: Console, installation: Installation, succeeded: bool, *, changed: bool) -> None:
    if not succeeded:
        console.print(
            "Stopped. What was committed stays and is safe to run again after the cause is mended: make migrate"
        )
        return
    console.print("Everything was done before; nothing was changed." if not changed else "All phases succeeded.")
    console.print("Look next: [bold]make ui[/] shows the assets, their checks and the history of these runs.")
    console.print("               [bold]make demo[/] lets you review what was proposed, in a browser.")
    console.print(f"Backups: {installation.backups}")
    console.print('Way back: [bold].venv/bin/knowledge-migration rollback backfill --reason "…" --dry-run[/]')


def run_ui(console: Console, project: Path, port: int) -> int:
    """Runs `dagster dev` on a loopback port until it is interrupted; returns its exit code."""
    from knowledge_migration.demo.live_application import free_port

    port = port or free_port()
    console.print(f"Dagster UI: [bold]http://127.0.0.1:{port}[/] (Ctrl-C ends it)")
    console.print("For other dagster commands in this directory, in another terminal while this runs:")
    console.print('  eval "$(.venv/bin/knowledge-migration environment)" && .venv/bin/dagster definitions validate')
    command = [str(Path(sys.executable).with_name("dagster")), "dev", "--host", "127.0.0.1", "--port", str(port)]
    child = subprocess.Popen(command, cwd=project)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return child.wait()
    except KeyboardInterrupt:
        return _end(child)


def _end(child: "subprocess.Popen[bytes]") -> int:
    """Interrupts Dagster so that it ends its own children; the harder signals only if it does not."""
    for number, patience_seconds in ((signal.SIGINT, 20), (signal.SIGTERM, 10), (signal.SIGKILL, 10)):
        child.send_signal(number)
        try:
            return child.wait(patience_seconds)
        except subprocess.TimeoutExpired:
            continue
    return child.wait()


@contextmanager
def counting(console: Console, words: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar over a known number of rows; silent where there is no terminal."""
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(words, total=total)
        yield lambda rows: progress.advance(task, rows)


def settings_table(settings: Settings) -> Table:
    """Every setting with its value; addresses are shown without their passwords."""
    table = Table("variable", "value", "meaning", show_lines=False)
    rows = {
        variable.upper(): (str(getattr(getattr(settings, section), field)), info.description or "")
        for variable, section, field, info in variables()
    }
    for name, row in rows.items():
        table.add_row(name, *row)
    return table


def forecast_table(forecasts: Sequence[Forecast]) -> Table:
    """What a dry run says of each table."""
    table = Table(
        "table",
        "rows to do",
        "rows sampled",
        "failing batches",
        "rows/s",
        "WAL MiB",
        "seconds at the rate limit",
        "seconds unlimited",
    )
    for one in forecasts:
        table.add_row(
            one.table,
            f"{one.rows_to_do:,}",
            f"{one.sampled_rows:,}",
            str(one.failing_batches),
            f"{one.rows_per_second:,.0f}",
            f"{one.wal_bytes / 2**20:,.1f}",
            f"{one.limited_seconds:,.0f}",
            f"{one.unlimited_seconds:,.0f}",
        )
    return table


def rows_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Rows of a query."""
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    return table
