"""`knowledge-migration serve`, `traffic`, `proposals` and `dual-write`: the service, its users, and its background work."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import psycopg
import typer
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from knowledge_migration.commands.terminal import DryRun, console, open_installation, say
from knowledge_migration.engine.foundation.database import Database, PoolerError
from knowledge_migration.engine.foundation.errors import PreconditionError, VerificationError
from knowledge_migration.settings import BackfillSettings

proposals_app = typer.Typer(help="The review queue.", no_args_is_help=True)
dual_write_app = typer.Typer(help="Phase 2: the shadow writes that failed.", no_args_is_help=True)

SWEEP_SECONDS = 15.0
TABLE = "┏┡└│┃├╭╰"
MOST_LINES = 6
WILDCARDS = ("0.0.0.0", "::", "")


def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; an address other than loopback needs tokens.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port; 0 takes a free one.")] = 8000,
    allow_faults: Annotated[
        bool,
        typer.Option("--allow-faults", help="Let an admin inject faults, for demonstrations and drills."),
    ] = False,
) -> None:
    """Run the knowledge service on the database that the settings name.

    Its API is described at /docs. Ctrl-C stops it after the running requests.

    Examples:

      knowledge-migration serve

      KNOWLEDGE_API_ADMIN_TOKEN=… KNOWLEDGE_API_REVIEWER_TOKEN=… knowledge-migration serve --host 0.0.0.0 --port 8000
    """
    import gc
    import logging

    import sqlalchemy as sa
    import uvicorn
    from uvicorn.config import LOGGING_CONFIG

    from knowledge_migration import telemetry
    from knowledge_migration.engine.status.prometheus import MigrationCollector
    from knowledge_migration.engine.status.reading import with_connect_limits
    from knowledge_migration.knowledge.api.access import is_loopback
    from knowledge_migration.knowledge.api.app import KEEP_ALIVE_SECONDS, create_app
    from knowledge_migration.knowledge.api.limits import BoundedHeaders
    from knowledge_migration.knowledge.service import KnowledgeService
    from knowledge_migration.pages.install import install
    from knowledge_migration.pages.migration.feed import MigrationSource

    installation = open_installation()
    # a wildcard address cannot be called; the setting names the public one
    announced = installation.settings.service.url or (None if host in WILDCARDS else f"http://{host}:{port}")
    options = installation.service_options(allow_faults=allow_faults, announced_url=announced)
    if not options.has_tokens and not is_loopback(host):
        raise PreconditionError(
            f"{host} is not a loopback address and no token is set, so everyone could change knowledge. Set "
            "KNOWLEDGE_API_ADMIN_TOKEN (and KNOWLEDGE_API_REVIEWER_TOKEN), or serve on 127.0.0.1."
        )
    refuse_busy_port(host, port)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    telemetry.start(installation.settings)
    console.print(
        f"Database {installation.database.display}; extractor {installation.settings.extractor.provider}; "
        f"review: http://{host}:{port}/review, "
        f"migration: http://{host}:{port}/migration, API: http://{host}:{port}/docs"
    )
    rules = installation.settings
    bounded = with_connect_limits(installation.database)
    with suppress(psycopg.OperationalError):  # the service reports a database that does not answer
        say_what_a_pooler_hides(bounded)
    collector = MigrationCollector(bounded, rules)
    service = KnowledgeService(options, installation.extractor, collector=collector)
    if options.semantic_model:
        with suppress(sa.exc.DBAPIError):  # the first search reads them
            service.read_names()
    app = create_app(service)
    migration = MigrationSource(installation.database, rules, promote_by_command, lambda: installation.dagster_ui)
    install(app, service, migration)
    gc.collect()
    gc.freeze()  # the objects of the start stay: a full collection took 0.2 s, in which no request was answered
    with sweeping(installation.database, rules.backfill):
        uvicorn.run(
            app,
            host=host,
            port=port,
            access_log=False,
            log_config=None if installation.settings.installation.log_format == "json" else LOGGING_CONFIG,
            http=BoundedHeaders,
            limit_concurrency=options.connection_limit,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=30,
        )


@contextmanager
def sweeping(database: Database, limits: BackfillSettings) -> Iterator[None]:
    """Sweeps stragglers in a thread while the block runs; a sweep that runs at its end ends with the process."""
    from knowledge_migration.engine.backfill.completion import sweep_until

    stopped = threading.Event()
    work = {"every_seconds": SWEEP_SECONDS}
    threading.Thread(target=sweep_until, args=(stopped, database, limits), kwargs=work, daemon=True).start()
    try:
        yield
    finally:
        stopped.set()


def promote_by_command(stage: str, actor: str, reason: str) -> str | None:
    """Promotes as `cutover promote` does, in a process of its own: the service never imports dagster. Returns why it failed."""
    arguments = ["cutover", "promote", stage, "--yes", f"--reason={reason}"]
    environment = {**os.environ, "KNOWLEDGE_MIGRATION_OPERATOR": actor, "COLUMNS": "400"}
    ended = subprocess.run(
        [sys.executable, "-m", "knowledge_migration.commands.main", *arguments],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, check=False,
    )  # fmt: skip
    if ended.returncode == 0:
        return None
    lines = [line for line in ended.stdout.splitlines() if line.strip() and line[0] not in TABLE]
    return "\n".join(lines[-MOST_LINES:]) or f"The command ended with code {ended.returncode}; see the log."


def refuse_busy_port(host: str, port: int) -> None:
    """Raises `PreconditionError` where another process listens, or the address is not of this machine."""
    family, kind, _, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise PreconditionError(
                f"Cannot listen on port {port} of {host}: {error.strerror}. End the process that uses it, or choose another "
                "port (--port 0 takes a free one)."
            ) from error


def say_what_a_pooler_hides(database: Database) -> None:
    """A line for the log of a service behind a pooler: what needs sessions is not available there."""
    try:
        database.refuse_shared_sessions()
    except PoolerError as error:
        console.print(f"/migration, and the state of the migration in /health and /metrics, are not available: {error}")


def traffic(
    url: Annotated[
        str | None,
        typer.Option(
            help="Where the service answers. Unset: the service that announces itself, or http://127.0.0.1:8000."
        ),
    ] = None,
    rate: Annotated[float, typer.Option(min=0.1, max=10_000, help="Requests per second.")] = 20.0,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="How long. Unset: until Ctrl-C.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed sends the same requests.")] = 1,
    extract_share: Annotated[
        float | None, typer.Option(min=0, max=100, help="Percent of the requests that extract. Unset: about 20.")
    ] = None,
    users: Annotated[int, typer.Option(min=1, help="At most this many requests are open at a time.")] = 100,
    report: Annotated[Path | None, typer.Option(help="File for the report, as JSON.")] = None,
) -> None:
    """Behave like users of the application (extract, read, create, edit, delete), then check that nothing is lost.

    It WRITES to the database behind the service: topics and atoms named "traffic …", and extractions of existing
    messages. It edits and deletes only its own rows. Ends with exit code 1 if a request failed or an
    acknowledged write is missing.

    Examples:

      knowledge-migration traffic --rate 30 --seconds 60

      knowledge-migration traffic --url http://127.0.0.1:8000 --report traffic.json
    """
    from knowledge_migration.demo.traffic.report import Measurements, TrafficReport
    from knowledge_migration.demo.traffic.run import TrafficOptions, run_traffic

    installation = open_installation()
    options = TrafficOptions(
        url=url or (known.url if (known := installation.known_service_address) else "http://127.0.0.1:8000"),
        database=installation.database,
        token=installation.settings.service.token,
        requests_per_second=rate,
        seconds=seconds,
        seed=seed,
        extract_share=None if extract_share is None else extract_share / 100,
        most_at_once=users,
    )

    async def until_stopped() -> TrafficReport:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        columns = (TextColumn("{task.fields[message]}"), TimeElapsedColumn())
        with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
            task = bars.add_task("", message="traffic")

            def report_requests(measured: Measurements) -> None:
                bars.update(task, message=f"{measured.requests:,} requests, {len(measured.failures)} failed")

            return await run_traffic(options, stop, on_progress=report_requests)

    result = asyncio.run(until_stopped())
    if report:
        report.write_text(json.dumps(result.to_json(), indent=1), encoding="utf-8")
    console.print(result.table())
    for message in (*result.failures, *(f"{lost.what} {lost.why}" for lost in result.lost[:20])):
        say(f"  {message}")
    console.print(result.sentence)
    if not result.passed:
        raise VerificationError("Requests failed or acknowledged writes are missing; they are named above.")


@proposals_app.command("auto-approve")
def auto_approve(
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Most proposals to approve.")] = 10_000,
    dry_run: DryRun = False,
) -> None:
    """Approve pending proposals of high confidence, as the flags say; each in a transaction of its own.

    Example: knowledge-migration proposals auto-approve --dry-run
    """
    from knowledge_migration.knowledge.flags import read_flags
    from knowledge_migration.knowledge.proposals.auto_approval import approve_all_eligible, eligible

    installation = open_installation()
    with installation.database.begin() as transaction:
        flags = read_flags(transaction) or installation.initial_flags
        proposals = eligible(transaction, flags, limit)
    console.print(
        f"{len(proposals):,} proposals have a confidence of {flags.auto_approve_threshold:g} or more and are not similar to "
        f"anything else{'' if flags.auto_approve_high_confidence else ' (auto-approval is switched off)'}."
    )
    if not dry_run and proposals:
        with installation.database.engine(pooled=True) as engine:
            approved = approve_all_eligible(engine, flags, proposals, installation.finder())
        console.print(f"Approved {approved:,}; the others have changed, or are similar to something.")


@dual_write_app.command("repair")
def repair(dry_run: DryRun = False) -> None:
    """Write the proposals of direct writes whose shadow write failed.

    Example: knowledge-migration dual-write repair --dry-run
    """
    from knowledge_migration.knowledge.flags import read_flags
    from knowledge_migration.knowledge.writing.shadow import open_failures, open_rows, repair_next

    installation = open_installation()
    with installation.database.begin() as transaction:
        count, rows = open_failures(transaction), open_rows(transaction)
    console.print(f"{rows:,} rows of {count:,} direct writes have no proposals.")
    if dry_run or not count:
        return
    repaired = 0
    with installation.database.engine(pooled=True) as engine:
        transactions = engine.execution_options(isolation_level="READ COMMITTED")
        while True:
            with transactions.begin() as connection:
                # in the transaction that writes, so that the drain of a rollback waits for it
                flags = read_flags(connection)
                if flags is None or not flags.records_origins:
                    raise PreconditionError(
                        f"Dual write is off, so rows get no proposals. Repaired {repaired:,}; the others stay on record. "
                        "Switch dual write on (job phase_2_dual_write), then run this again."
                    )
                if not repair_next(connection):
                    break
            repaired += 1
    console.print(f"Repaired {repaired:,} direct writes.")
