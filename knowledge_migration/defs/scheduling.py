"""Schedules of read-only runs, and the one sentence with which a tick is skipped while there is nothing to do."""

from collections.abc import Callable

import dagster as dg
import psycopg
import sqlalchemy as sa
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from knowledge_migration.defs.resources import Migration
from knowledge_migration.engine.foundation.database import NOT_SO_FAR, exists
from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration.engine.foundation.explanation import explained, innermost

BEFORE_PHASE_1 = "There is nothing to do before phase 1."
NOT_AVAILABLE = (MigrationError, psycopg.Error, sa.exc.DBAPIError)
"""Before phase 1 tables are missing, and a database may be unreachable: the tick is skipped, and the next one reads again."""


def why_skipped(what: str, error: Exception) -> str:
    """Why a tick that raised one of `NOT_AVAILABLE` is skipped; `what` could not be done."""
    if isinstance(innermost(error), NOT_SO_FAR):
        return BEFORE_PHASE_1
    return f"{what}: {error if isinstance(error, MigrationError) else explained(error)}"


def read_only_schedule(
    name: str,
    job: UnresolvedAssetJobDefinition,
    cron_schedule: str,
    description: str,
    still_missing: Callable[[Migration], str | None] = lambda _: None,
) -> dg.ScheduleDefinition:
    """A schedule in UTC that requests a run when the database answers and has the proposal schema.

    `still_missing` says what else the run would miss; then it skips, too.
    """

    @dg.schedule(
        name=name,
        job=job,
        cron_schedule=cron_schedule,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=description,
    )
    def schedule(migration: Migration) -> dg.RunRequest | dg.SkipReason:
        if skipped := nothing_to_validate(migration, still_missing):
            return skipped
        return dg.RunRequest()

    return schedule


def nothing_to_validate(
    migration: Migration, still_missing: Callable[[Migration], str | None] = lambda _: None
) -> dg.SkipReason | None:
    """Why a run would find nothing; None where it would."""
    try:
        with migration.database.connect("schedule", settings={"statement_timeout": "20000"}) as connection:
            if not exists(connection, "public.topic_proposals"):
                return dg.SkipReason(BEFORE_PHASE_1)
        missing = still_missing(migration)
        return dg.SkipReason(missing) if missing else None
    except NOT_AVAILABLE as error:
        return dg.SkipReason(why_skipped("The database does not answer", error))
