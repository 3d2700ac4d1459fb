"""`knowledge-migration cutover`: the current stage and the missing requirements, with the checks recorded by Dagster."""

from typing import Annotated

import typer
from rich.table import Table

from knowledge_migration.commands.setup import console, dagster_project, open_installation
from knowledge_migration.thresholds import STAGES

app = typer.Typer(
    help="Phase 4: the current stage, the gates, the requirements of the next stage.", no_args_is_help=True
)


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
    import dagster as dg

    from knowledge_migration.defs.cutover import JOB, stage_readiness
    from knowledge_migration.defs.resources import Migration
    from knowledge_migration.engine.cutover.state import read_cutover_state

    dagster_project()
    installation = open_installation()
    state = read_cutover_state(installation.database)
    console.print(f"{state.state} since {state.since:%Y-%m-%d %H:%M:%S} UTC, flags of version {state.flags.version}")
    if state.next_stage is None or not evaluate:
        return
    with dg.DagsterInstance.get() as instance:
        ready = stage_readiness(Migration(), instance, state.next_stage)
    table = Table("", f"for {state.next_stage}", "", title_justify="left")
    for one in ready.requirements:
        table.add_row("[green]met[/]" if one.met else "[red]missing[/]", one.name, one.message)
    console.print(table)
    if ready.ready:
        console.print(f"Nothing is missing. Launch {JOB} with the partition {ready.stage} in the UI to promote.")
    else:
        console.print(f"{len(ready.missing)} of {len(ready.requirements)} requirements are missing.")
