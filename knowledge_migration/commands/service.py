"""`knowledge-migration serve`, and what is done to proposals without a browser."""

from typing import Annotated

import typer

from knowledge_migration.commands.setup import DryRun, console, open_installation
from knowledge_migration.engine.foundation.errors import PreconditionError

proposals_app = typer.Typer(help="The review queue.", no_args_is_help=True)
dual_write_app = typer.Typer(help="Phase 2: what could not be written beside a direct write.", no_args_is_help=True)


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; another than loopback needs tokens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port; 0 takes a free one.")] = 8000,
    allow_faults: Annotated[
        bool,
        typer.Option("--allow-faults", help="Let an admin make it fail on purpose, for demonstrations and drills."),
    ] = False,
) -> None:
    """Run the knowledge service on the database that the settings name.

    Its API is described at /docs. Stop it with Ctrl-C: what is under way is finished.

    Examples:

      knowledge-migration serve

      KNOWLEDGE_API_ADMIN_TOKEN=… KNOWLEDGE_API_REVIEWER_TOKEN=… knowledge-migration serve --host 0.0.0.0 --port 8000
    """
    import gc
    import logging

    import uvicorn

    from knowledge_migration.engine.status.prometheus import MigrationCollector
    from knowledge_migration.engine.status.reading import with_connect_limits
    from knowledge_migration.knowledge.api.access import is_loopback
    from knowledge_migration.knowledge.api.app import KEEP_ALIVE_SECONDS, create_app
    from knowledge_migration.knowledge.service import KnowledgeService
    from knowledge_migration.pages.install import install
    from knowledge_migration.pages.migration.feed import MigrationSource

    installation = open_installation()
    options = installation.service_options(allow_faults=allow_faults)
    if not options.has_tokens and not is_loopback(host):
        raise PreconditionError(
            f"{host} is no loopback address and no token is set, so anybody could change knowledge. Set "
            "KNOWLEDGE_API_ADMIN_TOKEN (and KNOWLEDGE_API_REVIEWER_TOKEN), or serve on 127.0.0.1."
        )
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    console.print(
        f"Database {installation.database.display}; extractor {installation.settings.extractor.provider}; "
        f"review: http://{host}:{port}/review, "
        f"migration: http://{host}:{port}/migration, API: http://{host}:{port}/docs"
    )
    rules = installation.settings
    collector = MigrationCollector(with_connect_limits(installation.database), rules)
    service = KnowledgeService(options, installation.extractor, collector=collector)
    app = create_app(service)
    migration = MigrationSource(installation.database, rules, lambda: installation.running_dagster_storage)
    install(app, service, migration)
    gc.collect()
    gc.freeze()  # what is there now stays: going through all of it again took 0.2 s, in which nobody was answered
    uvicorn.run(
        app,
        host=host,
        port=port,
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=30,
    )


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
        found = eligible(transaction, flags, limit)
    console.print(
        f"{len(found):,} proposals have a confidence of {flags.auto_approve_threshold:g} or more and are similar to nothing "
        f"of another name{'' if flags.auto_approve_high_confidence else ' (auto-approval is switched off)'}."
    )
    if not dry_run and found:
        with installation.database.engine() as engine:
            approved = approve_all_eligible(engine, flags, found)
        console.print(f"Approved {approved:,}; the others changed meanwhile, or are similar to something.")


@dual_write_app.command("repair")
def repair(dry_run: DryRun = False) -> None:
    """Make the proposals of direct writes whose shadow failed.

    Example: knowledge-migration dual-write repair --dry-run
    """
    from knowledge_migration.knowledge.writing.shadow import open_failures, repair_next

    installation = open_installation()
    with installation.database.begin() as transaction:
        count = open_failures(transaction)
    console.print(f"{count:,} direct writes are without their proposals.")
    if dry_run or not count:
        return
    repaired = 0
    with installation.database.engine() as engine:
        transactions = engine.execution_options(isolation_level="READ COMMITTED")
        while True:
            with transactions.begin() as connection:
                if not repair_next(connection):
                    break
            repaired += 1
    console.print(f"Repaired {repaired:,}.")
