"""`knowledge-migration migrate` and `ui`: the progress of all phases, their summary, and Dagster's own UI."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from knowledge_migration.engine.foundation import progress as reports
from knowledge_migration.installation import Installation
from knowledge_migration.settings import DEMONSTRATION

if TYPE_CHECKING:
    from knowledge_migration.commands.phase_runs import PhaseSummary

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
            TextColumn("{task.fields[message]}"),
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
            self.tasks[key] = self.bars.add_task(report.work, total=report.total, message="")
        self.bars.update(self.tasks[key], completed=report.done or 0, message=report.message)

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

    from knowledge_migration.commands.phase_runs import PhaseSummary, migrate, migrated
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
    """Phase 4 of the demonstration, after its settings are shown."""
    from knowledge_migration.commands.phase_runs import Runs
    from knowledge_migration.defs.resources import Migration
    from knowledge_migration.demo.cutover import Daemon, demonstrate_cutover
    from knowledge_migration.engine.foundation.database import Database

    table = Table(
        "setting", "in this demonstration", title="Bake times scaled down from days to seconds", title_justify="left"
    )
    for name, value in DEMONSTRATION.items():
        shown = "every second user" if name == "knowledge_proposals_admin_user_ids" else json.dumps(value)
        table.add_row(name.upper(), shown)
    console.print(table)

    def work(runs: Runs, database: Database, service_url: str) -> tuple[str, int]:
        daemon = Daemon(
            runs.instance,
            runs.definitions,
            lambda request: runs.attempt(str(request.job_name), partition=request.partition_key, tags=request.tags),
            {"migration": Migration(variables={"cutover_automatic_promotion": True})},
        )
        return demonstrate_cutover(daemon, database, service_url, lambda message: console.print(f"  {message}")), 0

    return work


def _own_terminal(console: Console) -> Console:
    """The same terminal on a descriptor of its own, because Dagster captures the process's output while a step runs."""
    if not console.is_terminal:
        return console
    return Console(file=os.fdopen(os.dup(console.file.fileno()), "w"), highlight=False)


def summary_table(summaries: Sequence["PhaseSummary"]) -> Table:
    """One row per phase: the work, rows, seconds, and the checks by result."""
    table = Table(title="Migration", title_justify="left")
    for column in ("phase", "result", "rows", "seconds", "checks passed", "failed", "warned"):
        table.add_column(column, justify="left" if column in ("phase", "result") else "right")
    for summary in summaries:
        rows = "-" if summary.rows is None else f"{summary.rows:,}"
        cells: tuple[str, ...] = ("-",) * 4
        if not summary.skipped:
            results = Counter(check.result for check in summary.checks)
            counts = [str(results[result]) for result in ("passed", "failed", "warned")]
            cells = (f"{summary.seconds:.1f}", *counts)
        table.add_row(summary.phase, Text(summary.done, style="" if summary.succeeded else "red"), rows, *cells)
    return table


def _print_traffic(console: Console, installation: Installation, traffic: dict[str, Any]) -> bool:
    """The result of the live traffic, recorded as evidence; True when no request failed and no write is lost."""
    from knowledge_migration.engine.foundation import evidence

    with installation.database.connect("live traffic") as connection:
        evidence.record(connection, "live_traffic", traffic)
    style = "green" if traffic["passed"] else "red"
    console.print(f"[bold]Live traffic:[/] [{style}]{traffic['sentence']}[/]", soft_wrap=True)
    for message in (*traffic["failures"], *(f"{lost['what']} {lost['why']}" for lost in traffic["lost"][:20])):
        console.print(f"  {message}", markup=False, soft_wrap=True)
    return bool(traffic["passed"])


def _print_findings(console: Console, summaries: Sequence["PhaseSummary"]) -> None:
    for summary in summaries:
        for error in summary.errors:
            console.print(f"[red]phase {summary.phase}[/] {error}", soft_wrap=True)
        for check in {(check.asset, check.name): check for check in summary.checks}.values():  # the latest of each
            if not check.succeeded:
                style = "yellow" if check.warns else "red"
                console.print(f"[{style}]{check.asset}.{check.name}[/] {check.message}", soft_wrap=True)


def _print_next(console: Console, installation: Installation, succeeded: bool, *, changed: bool) -> None:
    if not succeeded:
        console.print("Stopped. Committed work stays. Remove the cause and run it again: make migrate")
        return
    console.print("All phases succeeded." if changed else "All phases were done already; nothing was changed.")
    console.print("Next: [bold]make ui[/] shows the assets, their checks and the history of these runs.")
    console.print("      [bold]make demo[/] opens the review of the proposals in a browser.")
    console.print(f"Backups: {installation.backups}")
    console.print('Rollback: [bold].venv/bin/knowledge-migration rollback backfill --reason "…" --dry-run[/]')


def run_ui(console: Console, project: Path, port: int) -> int:
    """Runs `dagster dev` on a loopback port until it is interrupted; returns its exit code."""
    from knowledge_migration.demo.live_application import free_port

    port = port or free_port()
    console.print(f"Dagster UI: [bold]http://127.0.0.1:{port}[/] (Ctrl-C stops it)")
    console.print(
        "Other commands of Dagster need no variables here: dg dev, dg list defs, dagster definitions validate."
    )
    command = [str(Path(sys.executable).with_name("dagster")), "dev", "--host", "127.0.0.1", "--port", str(port)]
    child = subprocess.Popen(command, cwd=project)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return child.wait()
    except KeyboardInterrupt:
        return _end(child)


def _end(child: "subprocess.Popen[bytes]") -> int:
    """Interrupts Dagster so that it ends its own children; sends harder signals only if it does not end."""
    for number, timeout_seconds in ((signal.SIGINT, 20), (signal.SIGTERM, 10), (signal.SIGKILL, 10)):
        child.send_signal(number)
        try:
            return child.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            continue
    return child.wait()
