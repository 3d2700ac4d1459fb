"""`knowledge-migration functional` and `load-test`: a running service, tried through its API; needs no Dagster."""

from typing import Annotated

import typer
from rich.table import Table

from knowledge_migration.commands.setup import DryRun, console, open_installation
from knowledge_migration.engine.foundation.errors import VerificationError
from knowledge_migration.engine.validation.functional import SCENARIOS

COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow"}


def functional(dry_run: DryRun = False) -> None:
    """Try the strategy's four scenarios on the service at KNOWLEDGE_SERVICE_URL. Ends with exit code 1 unless all pass.

    WRITES messages, proposals and topics of its own and removes them again; needs FUNCTIONAL_VALIDATION_ALLOWED=true.

    Example: FUNCTIONAL_VALIDATION_ALLOWED=true knowledge-migration functional
    """
    from knowledge_migration.engine.validation.functional import validate

    installation = open_installation()
    address = installation.service_address
    if dry_run:
        console.print(f"Would try on {address.url}: {', '.join(SCENARIOS)}; two messages, and what becomes of them.")
        return
    installation.require_functional_validation_allowed()
    with console.status("trying"):
        done = validate(installation.database, address)
    table = Table("scenario", "verdict", "seconds", "what was seen")
    for one in done.scenarios:
        table.add_row(
            one.name.replace("_", " "), f"[{COLOURS[one.verdict]}]{one.verdict}[/]", f"{one.seconds:.1f}", one.message
        )
    console.print(table)
    left = sum(one.rows for one in done.removed[:-1])
    console.print(
        f"{done.removed[-1].rows} rows of its own removed"
        + (f", and {left} that an earlier one had left." if left else ".")
    )
    for words in done.kept:
        console.print(f"[yellow]{words}[/]")
    if not done.passed:
        raise VerificationError("Not every scenario passed; the table says what was seen instead.")


def load_test(
    concurrency: Annotated[int, typer.Option(min=1, max=1_000, help="Extractions at once.")] = 50,
    requests: Annotated[int, typer.Option(min=1, max=100_000, help="Extractions in all.")] = 50,
    dry_run: DryRun = False,
) -> None:
    """Load the service at KNOWLEDGE_SERVICE_URL with extractions, and hold it against its limits. Exit code 1 if it breaks one.

    WRITES copies of the latest messages and what is extracted from them, and removes all of it; needs LOAD_TEST_ALLOWED=true.

    Example: LOAD_TEST_ALLOWED=true knowledge-migration load-test --concurrency 50 --requests 50
    """
    from knowledge_migration.commands.migrate import counting
    from knowledge_migration.engine.validation.load import MESSAGES_EACH, run_load_test

    installation = open_installation()
    address = installation.service_address
    if dry_run:
        console.print(
            f"Would extract {requests} times from {MESSAGES_EACH} copied messages each, {concurrency} at once, on {address.url}."
        )
        return
    installation.require_load_test_allowed()
    with counting(console, "extractions", requests) as count:
        done = run_load_test(
            installation.database,
            address,
            installation.settings.cutover.gates,
            concurrency=concurrency,
            requests=requests,
            on_answer=lambda _: count(1),
        )
    table = Table("", "", show_header=False)
    for name, value in done.to_evidence().items():
        table.add_row(name.replace("_", " "), f"{value:.3f}" if isinstance(value, float) else str(value))
    console.print(table)
    if not done.passed:
        raise VerificationError(f"Not within the limits: {'; '.join(done.problems)}.")
