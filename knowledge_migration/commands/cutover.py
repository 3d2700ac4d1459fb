"""`knowledge-migration flags` and `cutover`: the feature flags shown and set (without Dagster), the gates and the stages."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from knowledge_migration.commands.terminal import (
    AsJson,
    DryRun,
    Reason,
    Yes,
    confirm,
    console,
    open_installation,
    print_json,
    rows_table,
    say,
    show_rows,
)
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.installation import Installation
from knowledge_migration.thresholds import STAGES

if TYPE_CHECKING:
    from knowledge_migration.engine.cutover.readiness import Readiness
    from knowledge_migration.engine.cutover.state import CutoverState

flags_app = typer.Typer(
    help="The feature flags: every service process applies a change within a second.", no_args_is_help=True
)
app = typer.Typer(
    help="Phase 4: the current stage, the gates, the requirements of the next stage.", no_args_is_help=True
)


@flags_app.command("show")
def show(as_json: AsJson = False) -> None:
    """Show the flags, and the version that each live service process has acknowledged.

    Example: knowledge-migration flags show
    """
    from knowledge_migration.engine.dual_write.fence import live_writers
    from knowledge_migration.knowledge.flags import Flags, read_flags

    installation = open_installation()
    with installation.database.begin() as transaction:
        flags = read_flags(transaction)
    shown = flags or installation.initial_flags
    if as_json:
        print_json({"version": shown.version, "state": shown.state, **shown.values})
        return
    console.print(f"version {shown.version}, state {shown.state}")
    meanings = {name: field.description for name, field in Flags.model_fields.items()}
    rows = [{"flag": name, "value": value, "meaning": meanings[name]} for name, value in shown.values.items()]
    console.print(rows_table(rows))
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
def history_(
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="Most changes to show.")] = 20, as_json: AsJson = False
) -> None:
    """Show the changes of the flags with author, time and reason, newest first.

    Example: knowledge-migration flags history --limit 5
    """
    from knowledge_migration.knowledge.flags import history

    installation = open_installation()
    with installation.database.begin() as transaction:
        changes = history(transaction, limit)
    show_rows([_changed(change) for change in changes], as_json, none="The flags have not been changed yet.")


def _changed(change: dict[str, Any]) -> dict[str, Any]:
    """An entry of the audit log as a row: only the flags that differ."""
    before, after = change["before"] or {}, change["after"] or {}
    differing = {name: value for name, value in after.items() if before.get(name) != value and name != "version"}
    changed = ", ".join(f"{name}={json.dumps(value)}" for name, value in differing.items())
    return {
        "at (UTC)": change["at"],
        "version": after.get("version"),
        "changed": changed or "stored",
        "by": change["actor"],
        "why": change["reason"],
    }


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
def gates(as_json: AsJson = False) -> None:
    """Show the threshold table: every gate with its limit, window and sample, and what a breach does.

    Example: knowledge-migration cutover gates
    """
    settings = open_installation().settings.cutover
    rows = [
        {
            "metric": gate.metric,
            "limit": gate.limit,
            "minutes": f"{gate.window_minutes:g}",
            "sample": gate.minimum_sample,
            "passes": gate.passes_in_a_row,
            "needed for": ", ".join(gate.stages) if gate.stages != STAGES else "every stage",
            "breach": None if gate.breach is None else f"{gate.breach:g}",
            "guard action": gate.on_breach,
            "strategy": gate.source,
        }
        for gate in settings.gates
    ]
    show_rows(rows, as_json, none="There is no gate.")
    if as_json:
        return
    bakes = ", ".join(f"{stage} after {minutes:g} minutes" for stage, minutes in settings.bake_minutes.items())
    console.print(f"Bake times: {bakes}.")


@app.command("status")
def status(
    evaluate: Annotated[bool, typer.Option(help="Evaluate the gates and list what the next stage needs.")] = True,
    as_json: AsJson = False,
) -> None:
    """Show the current stage, and everything that the next one still needs.

    Records the verdicts of the gates, as every evaluation does.

    Example: knowledge-migration cutover status
    """
    installation = open_installation()
    state, ready = _state_and_readiness(installation, evaluate=evaluate)
    if as_json:
        requirements = [vars(one) for one in ready.requirements] if ready else []
        stages = {"state": state.state, "since": state.since, "next_stage": state.next_stage}
        print_json({**stages, "flags_version": state.flags.version, "requirements": requirements})
        return
    console.print(f"{state.state} since {state.since:%Y-%m-%d %H:%M:%S} UTC, flags of version {state.flags.version}")
    if ready is None:
        return
    _show_requirements(ready)
    if ready.ready:
        say(f"Nothing is missing. To promote: knowledge-migration cutover promote {ready.stage}")
    else:
        console.print(f"{len(ready.missing)} of {len(ready.requirements)} requirements are missing.")


@app.command("promote")
def promote(
    stage: Annotated[str, typer.Argument(help=f"One of {', '.join(STAGES)}.")],
    reason: Annotated[str | None, typer.Option("--reason", help="Why; it is recorded in the audit log.")] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Promote the cutover to its next stage, by a run of the job phase_4_cutover; every requirement has to be met.

    The run is the one that the UI launches, with the same guards, and is in the history there.

    Examples:

      knowledge-migration cutover promote internal_beta --dry-run

      knowledge-migration cutover promote internal_beta --reason "a day without errors"
    """
    if stage not in STAGES:
        raise typer.BadParameter(f"{stage} is none of {', '.join(STAGES)}")
    installation = open_installation()
    state, ready = _state_and_readiness(installation)
    if ready is None or ready.stage != stage:
        following = f"the next stage is {state.next_stage}" if state.next_stage else "there is no further stage"
        raise PreconditionError(f"The cutover is at {state.state}, and {following}. Nothing was changed.")
    _show_requirements(ready)
    if ready.missing:
        raise PreconditionError(f"{len(ready.missing)} requirements of {stage} are missing. Nothing was changed.")
    if dry_run:
        console.print(f"Would promote to {stage}.")
        return
    confirm(f"Promote to {stage}?", yes)
    from knowledge_migration.commands.migrate import run_cutover

    if not run_cutover(console, installation, stage, reason=reason):
        raise SystemExit(1)
    console.print(f"Promoted to {stage}. Every process of the service applies it within a second.")


@app.command("pause")
def pause(reason: Reason) -> None:
    """Pause the rollout: no command, job or sensor promotes until it is resumed. Rollbacks work as always.

    Example: knowledge-migration cutover pause --reason "an incident elsewhere"
    """
    _set_pause(paused=True, reason=reason)


@app.command("resume")
def resume(reason: Reason) -> None:
    """Resume a paused rollout; the requirements of the next stage apply as before.

    Example: knowledge-migration cutover resume --reason "the incident is over"
    """
    _set_pause(paused=False, reason=reason)


def _set_pause(*, paused: bool, reason: str) -> None:
    from knowledge_migration.engine.cutover.pause import set_pause

    with open_installation().database.connect("rollout pause") as connection:
        changed = set_pause(connection, paused=paused, reason=reason)
    state = "paused: nothing is promoted" if paused else "not paused"
    console.print(f"The rollout is {state}." if changed else f"The rollout was {state} already. Nothing was changed.")


def _state_and_readiness(
    installation: Installation, *, evaluate: bool = True
) -> "tuple[CutoverState, Readiness | None]":
    """The state, and what the next stage needs; records the verdicts of the gates, as every evaluation does."""
    from knowledge_migration.engine.cutover.readiness import readiness
    from knowledge_migration.engine.cutover.state import read_cutover_state
    from knowledge_migration.engine.validation.integrity import recorded_integrity

    database = installation.database
    state = read_cutover_state(database)
    if state.next_stage is None or not evaluate:
        return state, None
    integrity = recorded_integrity(database)
    return state, readiness(database, installation.settings, state.next_stage, integrity, now=database.now())


def _show_requirements(ready: "Readiness") -> None:
    name = f"for {ready.stage}"
    rows = [{name: one.name, "": "met" if one.met else "missing", " ": one.message} for one in ready.requirements]
    console.print(rows_table(rows, styles={"met": "green", "missing": "red"}))
