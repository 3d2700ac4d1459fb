"""`knowledge-migration flags` and `cutover`: the feature flags shown and set (without Dagster), the gates and the stages."""

import json
from typing import Annotated, Any

import typer
from rich.table import Table

from knowledge_migration.commands.terminal import DryRun, Reason, console, open_installation
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.thresholds import STAGES

flags_app = typer.Typer(
    help="The feature flags: every service process applies a change within a second.", no_args_is_help=True
)
app = typer.Typer(
    help="Phase 4: the current stage, the gates, the requirements of the next stage.", no_args_is_help=True
)


@flags_app.command("show")
def show() -> None:
    """Show the flags, and the version that each live service process has acknowledged.

    Example: knowledge-migration flags show
    """
    from knowledge_migration.engine.dual_write.fence import live_writers
    from knowledge_migration.knowledge.flags import Flags, read_flags

    installation = open_installation()
    with installation.database.begin() as transaction:
        flags = read_flags(transaction)
    shown = flags or installation.initial_flags
    table = Table(
        "flag", "value", "meaning", title=f"version {shown.version}, state {shown.state}", title_justify="left"
    )
    for name, value in shown.values.items():
        table.add_row(name, json.dumps(value), Flags.model_fields[name].description or "")
    console.print(table)
    if flags is None or not flags.version:
        console.print("The flags are not set yet: these are the initial values of the environment.")
    with installation.database.connect("flags") as connection:
        writers = live_writers(connection, installation.settings.fence.live_seconds)
    for row in writers:
        console.print(f"live: {row['process']}, mode {row['mode']}, acknowledged version {row['flag_version']}")
    if not writers:
        console.print("No process of the service is live.")


@flags_app.command("set")
def set_(
    changes: Annotated[
        list[str], typer.Argument(help="name=value …, e.g. cutover_percentage=50", metavar="NAME=VALUE…")
    ],
    reason: Reason,
    expected_version: Annotated[
        int | None, typer.Option(help="Refuse unless the flags have this version, in case someone else changes them.")
    ] = None,
    reset: Annotated[
        bool, typer.Option("--reset", help="Set every flag that is not named to its initial value.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Change flags for every process of the service, audited.

    Examples:

      knowledge-migration flags set dual_write=true --reason "phase 2"

      knowledge-migration flags set enabled=true cutover_percentage=10 --reason "first users" --expected-version 3

      knowledge-migration flags set enabled=false --reason "back to direct writes"
    """
    from knowledge_migration.engine.foundation import audit
    from knowledge_migration.knowledge.flags import FlagsError, changed, read_flags, set_flags

    installation = open_installation()
    wanted = dict(_parsed(change) for change in changes)
    initial = installation.initial_flags
    try:
        with installation.database.begin() as transaction:
            if dry_run:
                now = initial if reset else read_flags(transaction) or initial
                after = changed(now, wanted)
            else:
                after = set_flags(
                    transaction,
                    wanted,
                    initial=initial,
                    actor=audit.operator(),
                    reason=reason,
                    expected_version=expected_version,
                    reset=reset,
                )
    except FlagsError as error:
        raise PreconditionError(f"{error} Nothing was changed.") from error
    verb = "Would set" if dry_run else "Set"
    console.print(f"{verb} (version {after.version}, state {after.state}): {json.dumps(after.values)}")


@flags_app.command("history")
def history_(limit: Annotated[int, typer.Option(min=1, max=1_000, help="Most changes to show.")] = 20) -> None:
    """Show the changes of the flags with author, time and reason, newest first.

    Example: knowledge-migration flags history --limit 5
    """
    from knowledge_migration.knowledge.flags import history

    installation = open_installation()
    with installation.database.begin() as transaction:
        changes = history(transaction, limit)
    if not changes:
        console.print("The flags have not been changed yet.")
        return
    table = Table("at (UTC)", "version", "changed", "by", "why")
    for change in changes:
        before, after = change["before"] or {}, change["after"] or {}
        differing = {name: value for name, value in after.items() if before.get(name) != value and name != "version"}
        changed = ", ".join(f"{name}={json.dumps(value)}" for name, value in differing.items())
        moment = f"{change['at']:%Y-%m-%d %H:%M:%S}"
        table.add_row(moment, str(after.get("version")), changed or "stored", change["actor"], change["reason"])
    console.print(table)


def _parsed(change: str) -> tuple[str, Any]:
    """A flag's name and value; the value is JSON or a plain text."""
    name, separator, value = change.partition("=")
    if not separator:
        raise typer.BadParameter(f"{change!r} is not NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


@app.command("gates")
def gates() -> None:
    """Show the threshold table: every gate with its limit, window and sample, and what a breach does.

    Example: knowledge-migration cutover gates
    """
    settings = open_installation().settings.cutover
    table = Table("metric", "limit", "minutes", "sample", "passes", "needed for", "breach", "guard action", "strategy")
    for gate in settings.gates:
        table.add_row(
            gate.metric,
            gate.limit,
            f"{gate.window_minutes:g}",
            f"{gate.minimum_sample:,}",
            str(gate.passes_in_a_row),
            ", ".join(gate.stages) if gate.stages != STAGES else "every stage",
            "" if gate.breach is None else f"{gate.breach:g}",
            gate.on_breach or "",
            gate.source,
        )
    console.print(table)
    bakes = ", ".join(f"{stage} after {minutes:g} minutes" for stage, minutes in settings.bake_minutes.items())
    console.print(f"Bake times: {bakes}.")


@app.command("status")
def status(
    evaluate: Annotated[bool, typer.Option(help="Evaluate the gates and list what the next stage needs.")] = True,
) -> None:
    """Show the current stage, and everything that the next one still needs.

    Records the verdicts of the gates, as every evaluation does.

    Example: knowledge-migration cutover status
    """
    from knowledge_migration.engine.cutover.readiness import readiness
    from knowledge_migration.engine.cutover.state import read_cutover_state
    from knowledge_migration.engine.validation.integrity import recorded_integrity

    installation = open_installation()
    state = read_cutover_state(installation.database)
    console.print(f"{state.state} since {state.since:%Y-%m-%d %H:%M:%S} UTC, flags of version {state.flags.version}")
    if state.next_stage is None or not evaluate:
        return
    ready = readiness(
        installation.database,
        installation.settings,
        state.next_stage,
        recorded_integrity(installation.database),
        now=installation.database.now(),
    )
    table = Table("", f"for {state.next_stage}", "", title_justify="left")
    for one in ready.requirements:
        table.add_row("[green]met[/]" if one.met else "[red]missing[/]", one.name, one.message)
    console.print(table)
    if ready.ready:
        console.print(
            f"Nothing is missing. Launch phase_4_cutover with the partition {ready.stage} in the UI to promote."
        )
    else:
        console.print(f"{len(ready.missing)} of {len(ready.requirements)} requirements are missing.")
