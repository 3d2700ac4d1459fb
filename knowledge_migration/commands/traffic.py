"""`knowledge-migration traffic`: users of the application, as many as you like, and the proof that nothing of theirs is lost."""

import asyncio
import json
import signal
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from knowledge_migration.commands.setup import console, open_installation
from knowledge_migration.engine.foundation.errors import VerificationError


def traffic(
    url: Annotated[
        str | None,
        typer.Option(help="Where the service answers. Unset: KNOWLEDGE_SERVICE_URL, or http://127.0.0.1:8000."),
    ] = None,
    rate: Annotated[float, typer.Option(min=0.1, max=10_000, help="Requests per second.")] = 20.0,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="How long. Unset: until Ctrl-C.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed does the same things.")] = 1,
    extract_share: Annotated[
        float | None, typer.Option(min=0, max=100, help="Percent of the requests that extract. Unset: about 20.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="File for the report, as JSON.")] = None,
) -> None:
    """Behave like users of the application (extract, read, create, edit, delete), then check that nothing is lost.

    It WRITES to the database behind the service: topics and atoms named "traffic …", and extractions of existing
    messages. It edits and deletes only what it has written itself. Ends with exit code 1 if a request failed or an
    acknowledged write is missing.

    Examples:

      knowledge-migration traffic --rate 30 --seconds 60

      knowledge-migration traffic --url http://127.0.0.1:8000 --report traffic.json
    """
    from knowledge_migration.demo.traffic.report import Measurements, TrafficReport
    from knowledge_migration.demo.traffic.run import TrafficOptions, run_traffic

    installation = open_installation()
    options = TrafficOptions(
        url=url or installation.settings.service.url or "http://127.0.0.1:8000",
        database=installation.database,
        token=installation.settings.service.token,
        requests_per_second=rate,
        seconds=seconds,
        seed=seed,
        extract_share=None if extract_share is None else extract_share / 100,
    )

    async def until_stopped() -> TrafficReport:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        columns = (TextColumn("{task.fields[words]}"), TimeElapsedColumn())
        with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
            task = bars.add_task("", words="traffic")

            def told(measured: Measurements) -> None:
                bars.update(task, words=f"{measured.requests:,} requests, {len(measured.failures)} failed")

            return await run_traffic(options, stop, on_progress=told)

    found = asyncio.run(until_stopped())
    if report:
        report.write_text(json.dumps(found.to_json(), indent=1), encoding="utf-8")
    console.print(found.table())
    for words in (*found.failures, *(f"{lost.what} {lost.why}" for lost in found.lost[:20])):
        console.print(f"  {words}", markup=False)
    console.print(found.sentence)
    if not found.passed:
        raise VerificationError("Requests failed or acknowledged writes are missing; they are named above.")
