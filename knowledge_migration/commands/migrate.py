"""`knowledge-migration migrate` and `ui`: the progress of all phases, their summary, and Dagster's own UI."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from knowledge_migration.engine.foundation import progress as reports
from knowledge_migration.installation import Installation
from knowledge_migration.thresholds import DEMONSTRATION

if TYPE_CHECKING:
    from knowledge_migration.commands.phase_runs import Demonstration, PhaseSummary

PHASES, DEMONSTRATED_PHASES = 5, 7
END_SECONDS = 15.0
VALIDATIONS = tuple(f"validation_{name}" for name in ("functional", "load", "quality", "values", "performance"))


class PhaseProgress:
    """One bar for all phases on a terminal, with the present work beside it; elsewhere a line per finished work."""

    def __init__(self, console: Console, phases: int) -> None:
        """Shows on `console`."""
        self.console = console
        self.bar = Progress(
            TextColumn("[bold]{task.description}[/]"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[message]}"),
            console=console,
            transient=True,
        )
        self.task = self.bar.add_task("", total=phases, message="")
        self.finished = 0

    def begin(self, phase: str) -> None:
        """A phase has begun."""
        self.bar.update(self.task, description=phase, completed=self.finished, message="")
        if not self.console.is_terminal:
            self.console.print(f"[bold]{phase}[/]")

    def end(self, summary: "PhaseSummary") -> None:
        """A phase has ended."""
        self.finished += 1
        self.bar.update(self.task, completed=self.finished, message="")
        if self.console.is_terminal:
            style, state = ("green", "done") if summary.succeeded else ("red", "failed")
            seconds = "" if summary.skipped else f" in {summary.seconds:.0f} s"
            self.bar.console.print(f"[{style}]{state}[/] {summary.phase}{seconds}")

    def __call__(self, report: reports.Report) -> None:
        """Shows the progress of a piece of work of the phase."""
        if report.total is None:
            message, share = f"{report.work}: {report.message}", 0.0
        else:
            done = report.done or 0
            message = f"{report.work}: {done:,} of {report.total:,} {report.unit}, {report.message}"
            share = done / max(report.total, 1)
        if self.console.is_terminal:
            reached = max(self.bar.tasks[0].completed, self.finished + min(share, 0.95))
            self.bar.update(self.task, completed=reached, message=message)
        elif report.total is None or report.done == report.total:
            self.console.print(f"  {message}")


def run_migrate(console: Console, installation: Installation) -> bool:
    """Runs the migration and prints its summary; True when every phase succeeded."""
    import dagster as dg

    from knowledge_migration.commands.phase_runs import PhaseSummary, migrate, migrated

    console = _own_terminal(console)
    console.print(f"Database: {installation.database.display}")
    summaries: list[PhaseSummary] = []
    demonstration = None
    if installation.settings.uses_demonstration and not migrated(installation.database):
        console.print("[bold]Demonstration: the documentation of this Python as a knowledge base[/]")
        console.print(_scaled_settings())
        demonstration = _demonstration(console, installation)
    progress = PhaseProgress(console, DEMONSTRATED_PHASES if demonstration else PHASES)
    with reports.listening(progress), progress.bar, dg.DagsterInstance.get() as instance:
        for summary in migrate(installation.database, instance, on_phase=progress.begin, demonstration=demonstration):
            progress.end(summary)
            summaries.append(summary)
    console.print(summary_table(summaries))
    _print_findings(console, summaries)
    succeeded = all(summary.succeeded for summary in summaries)
    _print_next(console, installation, succeeded, changed=any(not summary.skipped for summary in summaries))
    return succeeded


def run_cutover(console: Console, installation: Installation, stage: str, *, reason: str | None = None) -> bool:
    """Runs the job of phase 4 for a stage and prints what failed; True when it succeeded."""
    import dagster as dg

    from knowledge_migration.commands.phase_runs import timed
    from knowledge_migration.commands.terminal import dagster_project

    dagster_project()
    console = _own_terminal(console)
    ops = {"cutover_stage": {"config": {"reason": reason}}} if reason else None
    with dg.DagsterInstance.get() as instance:
        summary = timed(
            f"4 cutover, {stage}",
            instance,
            installation.database,
            lambda runs, _: ("promoted" if runs.run("phase_4_cutover", partition=stage, ops=ops) else "stopped", None),
        )
    _print_findings(console, [summary])
    return summary.succeeded


def _scaled_settings() -> Table:
    """The settings of the demonstration that differ from production."""
    table = Table(
        "setting", "in this demonstration", title="Bake times scaled down from days to seconds", title_justify="left"
    )
    for name, value in DEMONSTRATION.items():
        shown = "every second user" if name == "knowledge_proposals_admin_user_ids" else json.dumps(value)
        table.add_row(name.upper(), shown)
    return table


def _demonstration(console: Console, installation: Installation) -> "Demonstration":
    """The jobs that only the demonstration runs: its application, a cutover of seconds, and every validation."""
    from knowledge_migration.commands.phase_runs import Demonstration, Runs
    from knowledge_migration.defs.resources import Migration
    from knowledge_migration.demo.background import finish_traffic
    from knowledge_migration.demo.cutover import Daemon, demonstrate_cutover
    from knowledge_migration.engine.foundation import evidence
    from knowledge_migration.engine.foundation.database import Database

    def prepare(runs: Runs, _: Database) -> tuple[str, int | None]:
        runs.run("demonstration")
        return "knowledge base, live application, simulated users", None

    def cutover(runs: Runs, database: Database) -> tuple[str, int | None]:
        daemon = Daemon(
            runs.instance,
            runs.definitions,
            lambda request: runs.attempt(str(request.job_name), partition=request.partition_key, tags=request.tags),
            {"migration": Migration(variables={"cutover_automatic_promotion": True})},
        )
        url = installation.service_address.url
        return demonstrate_cutover(daemon, database, url, lambda message: console.print(f"  {message}")), None

    def finish(runs: Runs, database: Database) -> tuple[str, int | None]:
        traffic = finish_traffic(installation.settings.home)
        with database.connect("live traffic") as connection:
            evidence.record(connection, "live_traffic", traffic)
        if not traffic["passed"]:
            lost = [f"{one['what']} {one['why']}" for one in traffic["lost"][:20]]
            runs.errors += [f"live traffic: {line}" for line in (traffic["sentence"], *traffic["failures"], *lost)]
        for job in VALIDATIONS:
            runs.run(job)
        return traffic["sentence"], None

    return Demonstration(prepare, cutover, finish)


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


def _print_findings(console: Console, summaries: Sequence["PhaseSummary"]) -> None:
    for summary in summaries:
        for error in summary.errors:
            console.print(f"[red]phase {summary.phase}[/] {error}", soft_wrap=True)
        for check in summary.checks:
            if not check.succeeded:
                style = "yellow" if check.warns else "red"
                console.print(f"[{style}]{check.asset}.{check.name}[/] {check.message}", soft_wrap=True)
                for row in check.sample:
                    console.print(f"    {row}", soft_wrap=True, markup=False)


def _print_next(console: Console, installation: Installation, succeeded: bool, *, changed: bool) -> None:
    if not succeeded:
        console.print(
            f"Stopped. Committed work stays. Remove the cause and run it again: [bold]{_program()} migrate[/]"
        )
        return
    console.print("All phases succeeded." if changed else "All phases were done already; nothing was changed.")
    if installation.settings.uses_demonstration and (service := installation.known_service_address):
        console.print(f"The application runs at [bold]{service.url}/review[/] until knowledge-migration stop.")
    nexts = {"ui": "the assets, their checks and the history of these runs"}
    if not installation.settings.uses_demonstration:
        nexts["cutover status"] = "what the next stage of the cutover needs"
    nexts['rollback backfill --reason "…" --dry-run'] = "what a rollback would do"
    for command, shows in nexts.items():
        console.print(f"[bold]{_program()} {command}[/] shows {shows}.", soft_wrap=True)
    console.print(f"Backups: {installation.backups.location}")


def _program() -> str:
    """The command as one can type it here: of the checkout's environment, or of an installed wheel."""
    local = Path(".venv/bin/knowledge-migration")
    return str(local) if local.exists() else local.name


def run_ui(console: Console, project: Path, port: int, announced: Path) -> int:
    """Runs `dagster dev` on a loopback port until it is interrupted; the file announces its address to the service."""
    from knowledge_migration.demo.live_application import free_port

    port = port or free_port()
    address = f"http://127.0.0.1:{port}"
    console.print(f"Dagster UI: [bold]{address}[/] (Ctrl-C stops it)")
    console.print(
        "Other commands of Dagster need no variables here: dg dev, dg list defs, dagster definitions validate."
    )
    place = ["--workspace", str(project / "workspace.yaml"), "--host", "127.0.0.1", "--port", str(port)]
    child = subprocess.Popen([str(Path(sys.executable).with_name("dagster")), "dev", *place])
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        announced.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        announced.write_text(address, encoding="utf-8")
        return child.wait()
    except KeyboardInterrupt:
        return end_with_children(child)
    finally:
        announced.unlink(missing_ok=True)


def end_with_children(child: "subprocess.Popen[bytes]") -> int:
    """Interrupts Dagster so that it ends its own children; what does not end in time is killed, the children included."""
    children = psutil.Process(child.pid).children(recursive=True)
    child.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        child.wait(END_SECONDS)
    _, alive = psutil.wait_procs(children, timeout=END_SECONDS)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=END_SECONDS)
    child.kill()
    return child.wait()
