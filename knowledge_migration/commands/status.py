"""`knowledge-migration status`: the whole state on one screen, again and again with `--watch`, or as JSON."""

import json
import time
from collections.abc import Callable
from datetime import datetime
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from knowledge_migration.commands.setup import console, installation
from knowledge_migration.engine.status.model import Phase, StatusSnapshot
from knowledge_migration.engine.status.reader import read_status
from knowledge_migration.installation import running_dagster_storage, status_rules

BAR_WIDTH = 24
SHOWN = 12
COLOURS = {
    "done": "green", "under way": "yellow", "not begun": "dim",
    "pass": "green", "fail": "red", "inconclusive": "yellow", "not judged": "dim",
}  # fmt: skip


def status(
    watch: Annotated[bool, typer.Option("--watch", help="Look again every two seconds until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all of it as JSON.")] = False,
) -> None:
    """Show the whole state: phases, flags, stage and gates, queue, checks, backup and drill, and what needs attention.

    Reads only, and takes under a second: what is too large to count in that time is estimated, and says "about".

    Examples:

      knowledge-migration status

      knowledge-migration status --watch

      knowledge-migration status --json
    """
    settings, env = installation()
    rules = status_rules(settings)

    def now() -> StatusSnapshot:
        return read_status(env.database, rules, running_dagster_storage(settings))

    if as_json:
        print(json.dumps(now().as_json(), indent=2, ensure_ascii=False))
    elif watch:
        _watch(now)
    else:
        console.print(screen(now()))


def _watch(now: Callable[[], StatusSnapshot]) -> None:
    with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
        try:
            while True:
                live.update(screen(now()), refresh=True)
                time.sleep(2)
        except KeyboardInterrupt:
            return


def screen(found: StatusSnapshot) -> RenderableType:
    """Everything on one screen."""
    parts: list[RenderableType] = [
        Text.assemble((f"{found.database}  ", "bold"), (f"{found.at:%Y-%m-%d %H:%M:%S} UTC", "dim")),
        _phases(found),
        _flags(found),
    ]
    if found.gates:
        parts.append(_gates(found))
    parts += [_standing(found), _attention(found)]
    return Group(*parts)


def _phases(found: StatusSnapshot) -> Table:
    table = Table.grid(padding=(0, 2))
    for phase in found.phases:
        table.add_row(
            f"{phase.number} {phase.name}", _bar(phase), Text(phase.state, COLOURS[phase.state]), _told(phase)
        )
    return table


def _bar(phase: Phase) -> RenderableType:
    share = phase.share or 0.0
    return Group(
        ProgressBar(
            total=1.0, completed=share, width=BAR_WIDTH, complete_style=COLOURS[phase.state], finished_style="green"
        )
    )


def _told(phase: Phase) -> str:
    return phase.words + (f", {span(phase.eta_seconds)} to go" if phase.eta_seconds else "")


def _flags(found: StatusSnapshot) -> Text:
    flags = found.flags
    if flags is None:
        return Text("\nflags: nobody has set them yet", style="dim")
    words = Text.assemble("\nflags: ", (flags.state.replace("_", " "), "bold"), f", version {flags.version}")
    if flags.values.get("enabled"):
        words.append(f", {flags.values['cutover_percentage']} % of {flags.values['audience']}")
    if flags.changed_at:
        words.append(f"; since {flags.changed_at:%Y-%m-%d %H:%M} UTC by {flags.changed_by} ({flags.reason})", "dim")
    return words


def _gates(found: StatusSnapshot) -> Table:
    title = f"gates at {found.stage}" + (f", for {found.next_stage}" if found.next_stage else "")
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2), show_edge=False)
    for column in ("metric", "verdict", "value", "limit", "sample", "age"):
        table.add_column(column, justify="right" if column in ("value", "sample", "age") else "left", no_wrap=True)
    for gate in found.gates:
        table.add_row(
            gate.metric,
            Text(gate.earlier or gate.verdict, COLOURS[gate.verdict]),
            "" if gate.value is None else f"{gate.value:.4g}",
            gate.limit,
            f"{gate.sample:,} of {gate.needed:,}",
            age(found.at, gate.at),
        )
    return table


def _standing(found: StatusSnapshot) -> Table:
    """Queue, writers, checks, and what was proven, one line each."""
    table = Table.grid(padding=(0, 2))
    table.add_row()
    pending = sum(queue.pending for queue in found.queues)
    oldest = min((queue.oldest for queue in found.queues if queue.oldest), default=None)
    waits = f"{pending:,} of {found.queue_limit:,} wait" + (
        f", the oldest for {age(found.at, oldest)}" if oldest else ""
    )
    table.add_row("review queue", waits if found.queues else "not there yet")
    modes = ", ".join(sorted({writer.mode.replace("_", " ") for writer in found.writers}))
    table.add_row("live processes", f"{len(found.writers)}" + (f" ({modes})" if modes else ""))
    table.add_row("checks", _checks(found))
    for proof in found.proofs:
        style = "dim" if proof.at is None else "green" if proof.well else "red"
        when = f"{age(found.at, proof.at)} ago" if proof.at else ""
        table.add_row(proof.name, Text.assemble((proof.words, style), f"  {when}"))
    return table


def _checks(found: StatusSnapshot) -> Text:
    if found.checks is None:
        return Text("cannot be seen", "yellow")
    if not found.checks:
        return Text("none has run yet", "dim")
    unended = [check for check in found.checks if not check.ended]
    failed = [check for check in found.checks if check.ended and not check.passed and not check.warns]
    warned = [check for check in found.checks if check.ended and not check.passed and check.warns]
    last = age(found.at, max(check.at for check in found.checks))
    passed = len(found.checks) - len(failed) - len(warned) - len(unended)
    return Text.assemble(
        (f"{passed} passed", "green"), ", ", (f"{len(failed)} failed", "red" if failed else "dim"), ", ",
        (f"{len(warned)} warned", "yellow" if warned else "dim"),
        (f", {len(unended)} not ended" if unended else "", "yellow"), f"; the latest {last} ago",
    )  # fmt: skip


def _attention(found: StatusSnapshot) -> Text:
    if not found.attention:
        return Text("\nNothing needs attention.", style="green")
    shown = [Text.assemble(("\n! ", "bold red"), words) for words in found.attention[:SHOWN]]
    more = len(found.attention) - SHOWN
    return Text.assemble(*shown, f"\n  and {more} more (--json has them all)" if more > 0 else "")


def age(now: datetime, at: datetime | None) -> str:
    """How long ago, in the unit that a person would use."""
    return span((now - at).total_seconds()) if at else ""


def span(seconds: float) -> str:
    """A length of time in the unit that a person would use."""
    if seconds < 120:
        return f"{max(seconds, 0):.0f} s"
    if seconds < 7_200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"
