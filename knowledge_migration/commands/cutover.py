"""`knowledge-migration cutover`: where it stands and what is missing, with the checks that Dagster has on record."""

from typing import Annotated

import typer
from rich.table import Table

from knowledge_migration.commands.setup import console, dagster_project, installation
from knowledge_migration.knowledge.stages import STAGES

app = typer.Typer(help="Phase 4: the stage that stands, the gates, what the next stage needs.", no_args_is_help=True)


@app.command("gates")
def gates() -> None:
    """Show the threshold table: every gate with its limit, window and sample, and what a breach does.

    Example: knowledge-migration cutover gates
    """
    settings, _ = installation()
    table = Table(
        "metric", "limit", "minutes", "sample", "in a row", "needed for", "beyond", "the guard does", "strategy"
    )
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
    """Show the stage that stands, and everything that the next one still needs.

    Records the verdicts of the gates, as every evaluation does.

    Example: knowledge-migration cutover status
    """
    import dagster as dg

    from knowledge_migration.defs.cutover import JOB, stage_readiness
    from knowledge_migration.defs.resources import Migration
    from knowledge_migration.engine.cutover.state import position

    dagster_project()
    _, env = installation()
    standing = position(env.database)
    console.print(
        f"{standing.state} since {standing.since:%Y-%m-%d %H:%M:%S} UTC, flags of version {standing.flags.version}"
    )
    if standing.next_stage is None or not evaluate:
        return
    with dg.DagsterInstance.get() as instance:
        ready = stage_readiness(Migration(), instance, standing.next_stage)
    table = Table("", f"for {standing.next_stage}", "", title_justify="left")
    for one in ready.requirements:
        table.add_row("[green]holds[/]" if one.holds else "[red]missing[/]", one.name, one.words)
    console.print(table)
    if ready.ready:
        console.print(f"Nothing is missing. Launch {JOB} with the partition {ready.stage} in the UI to promote.")
    else:
        console.print(f"{len(ready.missing)} of {len(ready.requirements)} are missing.")
