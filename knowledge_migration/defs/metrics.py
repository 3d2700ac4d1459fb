"""The migration's metrics over time (strategy §2.2, §6.4, §11.2): sampled every five minutes, drawn when materialized."""

from datetime import timedelta
from typing import Any

import dagster as dg
import psycopg

from knowledge_migration.defs import reporting
from knowledge_migration.defs.resources import Migration
from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration.engine.observability import plots
from knowledge_migration.engine.observability.queries import QUERIES
from knowledge_migration.engine.observability.sampling import Sampling, metric_history, sample

PLOTTED = timedelta(days=14)
PLOTS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("migration_progress", "Rows with their proposal", ("progress.linked", "progress.rows")),
    ("review_queue", "Proposals that wait for review", ("backlog.pending", "backlog.over_a_day")),
    ("statuses", "Proposals of 24 hours, by status", ("status_distribution.proposals",)),
    ("rates", "Extractions of the last hour, by mode and outcome", ("rates.extractions",)),
    ("approval", "Automatic approval: share, and share that stayed", ("auto_approval.rate", "auto_approval.accuracy")),
)


@dg.asset(group_name="operations", deps=["proposal_schema"], kinds={"postgres"})
def migration_metrics(migration: Migration) -> dg.MaterializeResult:
    """The dashboard queries as they stand, and what they said over the last two weeks.

    Reads the user's tables and keeps one sample of each metric in `migration.metric`. The schedule
    `metrics_every_five_minutes` does that without a run; this draws it.
    """
    with reporting.as_dagster_failure():
        found = _sample(migration, with_tables=True)
        with migration.database.connect("metrics") as connection:
            history = metric_history(connection, found.at - PLOTTED)
    drawn = {
        name: reporting.picture(plots.over_time(history, metrics, title), title)
        for name, title, metrics in PLOTS
        if history["metric"].isin(metrics).any()
    }
    tables = {
        query.name: reporting.rows_table([reporting.plain(row) for row in found.tables[query.name]])
        for query in QUERIES
    }
    metadata: dict[str, Any] = {
        "samples": len(found.samples),
        "measured_at": found.at.isoformat(sep=" ", timespec="seconds"),
        **{f"plot_{name}": plot for name, plot in drawn.items()},
        **tables,
    }
    return dg.MaterializeResult(metadata=metadata)


def _sample(migration: Migration, *, with_tables: bool = False) -> Sampling:
    settings = migration.settings
    return sample(
        migration.database,
        metrics=[gate.metric for gate in settings.cutover.gates],
        threshold=settings.flags.auto_approve_threshold,
        kept_days=settings.validation.metrics_kept_days,
        with_tables=with_tables,
    )


job = dg.define_asset_job(
    "metrics_snapshot",
    selection=dg.AssetSelection.assets(migration_metrics),
    description="The dashboard queries now, with plots of the last two weeks. Reads only, but for our own samples.",
)


@dg.schedule(
    cron_schedule="*/5 * * * *",
    job=job,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    execution_timezone="UTC",
    description=(
        "Every five minutes a sample of each metric, in the tick itself, and every six hours a run that draws them. Harmless, so "
        "it runs by default. A tick costs 0.05 to 0.3 s of a core; a run would cost 4 s each time."
    ),
)
def metrics_every_five_minutes(
    context: dg.ScheduleEvaluationContext, migration: Migration
) -> dg.RunRequest | dg.SkipReason:
    """Samples; a database that is away, or has not come to phase 1, is said and tried again."""
    moment = context.scheduled_execution_time
    if moment.minute == 0 and moment.hour % 6 == 0:
        return dg.RunRequest()
    try:
        found = _sample(migration)
    except (MigrationError, psycopg.Error) as error:
        return dg.SkipReason(f"No metric is measured: {str(error).strip()}")
    return dg.SkipReason(f"{len(found.samples)} samples kept.")


ASSETS = [migration_metrics]
CHECKS: list[dg.AssetChecksDefinition] = []
JOBS = [job]
SCHEDULES = [metrics_every_five_minutes]
