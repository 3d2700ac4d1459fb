"""`knowledge-migration criteria`: every checkbox of the strategy with its evidence, and the word of the person who judges."""

from typing import Annotated

import typer
from rich.table import Table

from knowledge_migration.commands.setup import console, dagster_project, open_installation

app = typer.Typer(
    help="Every checkbox of the strategy: what holds, what is not shown, what a person must say.", no_args_is_help=True
)
COLOURS = {"holds": "green", "fails": "red", "not shown": "yellow", "for a person": "cyan"}


@app.command("list")
def list_criteria(
    open_only: Annotated[bool, typer.Option("--open", help="Only those that do not hold.")] = False,
) -> None:
    """Judge every criterion as things stand now. Reads only; ends with exit code 1 if one fails.

    Example: knowledge-migration criteria list --open
    """
    import dagster as dg

    from knowledge_migration.defs.criteria import looking
    from knowledge_migration.defs.resources import Migration
    from knowledge_migration.engine.validation.criteria.evaluation import evaluate

    dagster_project()
    with console.status("judging"), dg.DagsterInstance.get() as instance, looking(Migration(), instance) as facts:
        judged = [one for one in evaluate(facts) if not (open_only and one.judgement.verdict == "holds")]
    table = Table("section", "criterion", "name", "verdict", "evidence")
    for one in judged:
        verdict = one.judgement.verdict
        row = one.as_row()
        table.add_row(
            row["section"], row["criterion"], row["name"], f"[{COLOURS[verdict]}]{verdict}[/]", row["evidence"]
        )
    console.print(table)
    if any(one.judgement.verdict == "fails" for one in judged):
        raise SystemExit(1)


@app.command("confirm")
def confirm(
    name: Annotated[str, typer.Argument(help="The criterion's name, as `criteria list` shows it.")],
    reason: Annotated[str, typer.Option("--reason", help="What you saw; it goes to the audit log.")],
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Take an earlier word back.")] = False,
) -> None:
    """Give your word about a criterion that only a person can judge. What is measured is never overruled by it.

    Example: knowledge-migration criteria confirm feedback --reason "asked the five reviewers"
    """
    from knowledge_migration.engine.validation.criteria.evaluation import confirm as keep

    installation = open_installation()
    keep(installation.database, name, words=reason, withdrawn=withdraw)
    console.print(f"Kept: {name} is {'no longer confirmed' if withdraw else 'confirmed'}.")
