"""The demonstration: its knowledge base and its live application, where no database is configured."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from knowledge_migration.defs import guards, reporting
from knowledge_migration.defs.resources import Migration
from knowledge_migration.settings import load_settings

GROUP = "demonstration"


@dg.asset(group_name=GROUP, check_specs=[guards.spec("demonstration_database")], kinds={"postgres"})
def demonstration_database(context: dg.AssetExecutionContext, migration: Migration) -> Iterator[Any]:
    """The documentation of this Python as a knowledge base on the embedded server: topics, atoms and messages.

    Loads it in one transaction; a second run changes nothing. Undo: `make clean` removes the embedded server.
    """
    from knowledge_migration.demo.loader import prepare_demonstration

    yield from guards.guarded(migration, "demonstration_database")
    with reporting.as_dagster_failure():
        loaded = prepare_demonstration(
            migration.database, lambda table, rows: context.log.info(f"{table}: {rows:,} rows")
        )
    rows = [{"table": table, "rows": count} for table, count in (loaded or {}).items()]
    yield dg.MaterializeResult(
        metadata={"loaded": "now" if loaded else "it was there already", "tables": reporting.rows_table(rows)}
    )


@dg.asset(
    group_name=GROUP,
    deps=[demonstration_database],
    check_specs=[guards.spec("demonstration_service")],
    kinds={"fastapi"},
)
def demonstration_service(migration: Migration) -> Iterator[Any]:
    """The knowledge service on the demonstration, with 20 requests a second of simulated users, in the background.

    It announces its address in its heartbeat, so the phases find it. Undo: `knowledge-migration stop` ends it.
    """
    from knowledge_migration.demo.background import start_application

    yield from guards.guarded(migration, "demonstration_service")
    with reporting.as_dagster_failure():
        url = start_application(migration.database, migration.settings.home)
    yield dg.MaterializeResult(
        metadata={
            "service": dg.MetadataValue.url(url),
            "review": dg.MetadataValue.url(f"{url}/review"),
            "migration": dg.MetadataValue.url(f"{url}/migration"),
        }
    )


job = dg.define_asset_job(
    "demonstration",
    selection=dg.AssetSelection.assets(demonstration_database, demonstration_service),
    description="Loads the demonstration and starts its live application. Begin here; then run phase_0_preparation.",
)


@dg.definitions
def demonstration() -> dg.Definitions:
    """Nothing where a database is configured."""
    if not load_settings().uses_demonstration:
        return dg.Definitions()
    return dg.Definitions(assets=[demonstration_database, demonstration_service], jobs=[job])
