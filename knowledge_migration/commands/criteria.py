"""`knowledge-migration criteria`: every checkbox of the strategy with its evidence, and confirmations by a person."""

from typing import Annotated

import typer
from rich.table import Table

from knowledge_migration.commands.setup import console, dagster_project, open_installation

app = typer.Typer(
    help="Every checkbox of the strategy: met, not met, no evidence yet, or for a person.", no_args_is_help=True
)
COLOURS = {"met": "green", "not met": "red", "no evidence yet": "yellow", "for a person": "cyan"}


@app.command("list")
def list_criteria(
    open_only: Annotated[bool, typer.Option("--open", help="Only criteria that are not met.")] = False,
) -> None:
    """Judge every criterion now. Read-only; ends with exit code 1 if one is not met.

    Example: knowledge-migration criteria list --open
    """
    import dagster as dg

    from knowledge_migration.defs.resources import Migration
    from knowledge_migration.defs.validation import criteria_facts
    from knowledge_migration.engine.validation.criteria.evaluation import evaluate

    dagster_project()
    with (
        console.status("judging"),
        dg.DagsterInstance.get() as instance,
        criteria_facts(Migration(), instance) as facts,
    ):
        judged = [one for one in evaluate(facts) if not (open_only and one.judgement.verdict == "met")]
    table = Table("section", "criterion", "name", "verdict", "evidence")
    for one in judged:
        verdict = one.judgement.verdict
        row = one.as_row()
        table.add_row(
            row["section"], row["criterion"], row["name"], f"[{COLOURS[verdict]}]{verdict}[/]", row["evidence"]
        )
    console.print(table)
    if any(one.judgement.verdict == "not met" for one in judged):
        raise SystemExit(1)


@app.command("confirm")
def confirm(
    name: Annotated[str, typer.Argument(help="The criterion's name, as `criteria list` shows it.")],
    reason: Annotated[str, typer.Option("--reason", help="Your observation; it is recorded in the audit log.")],
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Withdraw an earlier confirmation.")] = False,
) -> None:
    """Confirm a criterion that only a person can judge. A confirmation never overrules a measurement.

    Example: knowledge-migration criteria confirm feedback --reason "asked the five reviewers"
    """
    from knowledge_migration.engine.validation.criteria.evaluation import confirm as record_confirmation

    installation = open_installation()
    record_confirmation(installation.database, name, reason=reason, withdrawn=withdraw)
    console.print(f"Recorded: {name} is {'no longer confirmed' if withdraw else 'confirmed'}.")
