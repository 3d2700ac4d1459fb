"""`knowledge-migration criteria`, `functional`, `load-test`, `rehearse` and `drill`: the validations; none needs Dagster."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from knowledge_migration.commands.terminal import AsJson, DryRun, console, counting, open_installation, show_rows
from knowledge_migration.engine.foundation.errors import VerificationError

if TYPE_CHECKING:
    from knowledge_migration.engine.rehearsal.drill import Drill

criteria_app = typer.Typer(
    help="Every checkbox of the strategy: met, not met, no evidence yet, or for a person.", no_args_is_help=True
)
COLOURS = {
    "met": "green", "not met": "red", "no evidence yet": "yellow", "for a person": "cyan",
    "pass": "green", "fail": "red", "inconclusive": "yellow",
}  # fmt: skip


@criteria_app.command("list")
def list_criteria(
    open_only: Annotated[bool, typer.Option("--open", help="Only criteria that are not met.")] = False,
    as_json: AsJson = False,
) -> None:
    """Judge every criterion now. Read-only; ends with exit code 1 if one is not met.

    Example: knowledge-migration criteria list --open
    """
    from knowledge_migration.engine.validation.criteria.evaluation import evaluate

    with Console(stderr=True).status("judging"), open_installation().criteria_facts() as facts:
        judged = [one for one in evaluate(facts) if not (open_only and one.judgement.verdict == "met")]
    rows = [one.as_row() for one in judged]
    if not as_json:
        rows = [{name: row[name] for name in ("name", "section", "criterion", "verdict", "evidence")} for row in rows]
    show_rows(rows, as_json, none="Every criterion is met.", styles=COLOURS)
    if any(one.judgement.verdict == "not met" for one in judged):
        raise SystemExit(1)


@criteria_app.command("confirm")
def confirm_criterion(
    name: Annotated[str, typer.Argument(help="The criterion's name, as `criteria list` shows it.")],
    reason: Annotated[str, typer.Option("--reason", help="Your observation; it is recorded in the audit log.")],
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Withdraw an earlier confirmation.")] = False,
) -> None:
    """Confirm a criterion that only a person can judge. A confirmation never overrules a measurement.

    Example: knowledge-migration criteria confirm feedback --reason "asked the five reviewers"
    """
    from knowledge_migration.engine.validation.criteria.evaluation import confirm

    confirm(open_installation().database, name, reason=reason, withdrawn=withdraw)
    console.print(f"Recorded: {name} is {'no longer confirmed' if withdraw else 'confirmed'}.")


def functional(dry_run: DryRun = False) -> None:
    """Try the strategy's four scenarios on the running service. Ends with exit code 1 unless all pass.

    WRITES messages, proposals and topics of its own and removes them again; needs FUNCTIONAL_VALIDATION_ALLOWED=true.

    Example: FUNCTIONAL_VALIDATION_ALLOWED=true knowledge-migration functional
    """
    from knowledge_migration.engine.validation.functional import SCENARIOS, validate

    installation = open_installation()
    address = installation.service_address
    if dry_run:
        console.print(f"Would try on {address.url}: {', '.join(SCENARIOS)}, with two synthetic messages.")
        return
    installation.require_functional_validation_allowed()
    with console.status("trying"):
        result = validate(installation.database, address)
    table = Table("scenario", "verdict", "seconds", "message")
    for one in result.scenarios:
        verdict = f"[{COLOURS[one.verdict]}]{one.verdict}[/]"
        table.add_row(one.name.replace("_", " "), verdict, f"{one.seconds:.1f}", one.message)
    console.print(table)
    leftovers = f", and {result.leftovers} rows of an earlier validation" if result.leftovers else ""
    console.print(f"{result.removed[-1].rows} rows of its own removed{leftovers}.")
    for kept in result.kept:
        console.print(f"[yellow]{kept}[/]")
    if not result.passed:
        raise VerificationError("Not every scenario passed; see the table above.")


def load_test(
    concurrency: Annotated[int, typer.Option(min=1, max=1_000, help="Concurrent extractions.")] = 50,
    requests: Annotated[int, typer.Option(min=1, max=100_000, help="All extractions.")] = 50,
    dry_run: DryRun = False,
) -> None:
    """Load the running service with extractions and compare with its limits. Exit code 1 beyond one.

    WRITES copies of the latest messages and their extractions, and removes all of it; needs LOAD_TEST_ALLOWED=true.

    Example: LOAD_TEST_ALLOWED=true knowledge-migration load-test --concurrency 50 --requests 50
    """
    from knowledge_migration.engine.validation.load import MESSAGES_EACH, run_load_test

    installation = open_installation()
    address = installation.service_address
    if dry_run:
        work = f"{requests} times from {MESSAGES_EACH} copied messages each, {concurrency} at once"
        console.print(f"Would extract {work}, on {address.url}.")
        return
    installation.require_load_test_allowed()
    with counting("extractions", requests) as advance:
        result = run_load_test(
            installation.database,
            address,
            installation.settings.cutover.gates,
            concurrency=concurrency,
            requests=requests,
            on_answer=lambda _: advance(1),
        )
    table = Table("", "", show_header=False)
    for name, value in result.to_evidence().items():
        table.add_row(name.replace("_", " "), f"{value:.3f}" if isinstance(value, float) else str(value))
    console.print(table)
    if not result.passed:
        raise VerificationError(f"Not within the limits: {'; '.join(result.problems)}.")


def drill() -> None:
    """Run every rollback on a clone of the database, timed and compared; production is only read.

    The clone comes from the latest verified backup, on the scratch server, and is dropped at the end. Ends with exit code 1
    if a rollback left a row different or was too slow.

    Example: knowledge-migration drill
    """
    from knowledge_migration.engine.rehearsal.drill import record, run_drill

    installation = open_installation()
    with console.status("drilling") as status:
        result = run_drill(installation.database, installation.drill_options, progress=status.update)
    record(installation.database, result, plan_hash=installation.plan.hash)
    _show_drill(result)


def rehearse(dry_run: DryRun = False) -> None:
    """Rehearse the whole migration on a clone, forecast production, and bind the plan; production is only read.

    The phases then refuse another plan (SQL, code, settings). Ends with exit code 1 if it failed. --dry-run prints what the
    clone needs. KNOWLEDGE_MIGRATION_REHEARSAL_ROWS and …_REHEARSAL_CLONE_URL choose a smaller clone, or one of yours.

    Examples:

      knowledge-migration rehearse --dry-run

      knowledge-migration rehearse
    """
    from knowledge_migration.engine.rehearsal import rehearsal
    from knowledge_migration.engine.rehearsal.clone import cost_of_clone

    installation = open_installation()
    cost = cost_of_clone(installation.database, installation.scratch, installation.settings)
    console.print(f"{cost.sentence[0].upper()}{cost.sentence[1:]}.", soft_wrap=True)
    if dry_run:
        return
    settings = installation.settings.backfill
    with console.status("rehearsing") as status:
        result = rehearsal.rehearse(
            installation.database,
            installation.drill_options,
            installation.plan,
            batch_size=settings.batch_size,
            rate_limit_per_second=settings.fixed_rate,
            progress=status.update,
        )
    table = Table("phase", "rows", "seconds on the clone", "seconds per 1,000 rows", "seconds in production")
    for one in result.forecasts:
        each = "" if one.seconds_per_thousand is None else f"{one.seconds_per_thousand:.2f}"
        seconds = (f"{one.seconds_on_clone:.1f}", each, f"{one.seconds_in_production:.0f}")
        table.add_row(one.phase, f"{one.rows:,}", *seconds)
    console.print(table)
    seconds_in_production = f"{result.seconds_in_production:.0f} s"
    console.print(f"Plan {result.plan.hash[:16]}; production takes about {seconds_in_production} and the bake times.")
    _show_drill(result.drill)


def _show_drill(result: "Drill") -> None:
    table = Table("rollback", "seconds", "limit", "rows", "legacy tables")
    for path in result.paths:
        equal = "equal" if not path.differences else "; ".join(path.differences)
        table.add_row(path.path, f"{path.seconds:.2f}", f"{path.target_seconds:.0f}", f"{path.rows:,}", equal)
    console.print(table)
    if not result.passed:
        raise VerificationError("A rollback left the legacy tables different, or was too slow; see the table above.")
    console.print(f"Every rollback passed; {result.seconds:.0f} s in total.")
