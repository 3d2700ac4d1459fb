"""The migration's metrics over time (strategy §2.2, §6.4, §11.2): sampled every five minutes, plotted when materialized."""

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from knowledge_migration.defs import guards, reporting
from knowledge_migration.defs.resources import Migration
from knowledge_migration.defs.scheduling import nothing_to_validate
from knowledge_migration.engine.observability import plots
from knowledge_migration.engine.observability.metrics import Sampling, metric_history, sample

if TYPE_CHECKING:
    import pandas as pd

PLOTTED = timedelta(days=14)
PLOTS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("migration_progress", "Rows linked to their proposal", ("progress.linked", "progress.rows")),
    ("review_queue", "Pending proposals", ("backlog.pending", "backlog.over_a_day")),
    ("statuses", "Proposals of 24 hours, by status", ("status_distribution.proposals",)),
    ("rates", "Extractions of the last hour, by mode and outcome", ("rates.extractions",)),
    ("approval", "Automatic approval: rate and accuracy", ("auto_approval.rate", "auto_approval.accuracy")),
)


class MetricsConfig(dg.Config):
    """What a sample shows."""

    plots: bool = Field(default=True, description="Adds the tables of the dashboard and plots of the last two weeks.")


@dg.asset(
    group_name="operations",
    deps=["proposal_schema"],
    kinds={"postgres"},
    check_specs=[guards.spec("migration_metrics")],
)
def migration_metrics(config: MetricsConfig, migration: Migration) -> Iterator[Any]:
    """The dashboard queries now, with plots of the last two weeks.

    Reads the user's tables and stores one sample of each metric in `migration.metric`; deleting those samples undoes it.
    """
    yield from guards.guarded(migration, "migration_metrics")
    with reporting.as_dagster_failure():
        sampling = sample(
            migration.database,
            migration.installation.initial_flags,
            metrics=[gate.metric for gate in migration.settings.cutover.gates],
            kept_days=migration.settings.validation.metrics_kept_days,
            with_tables=config.plots,
        )
        metadata: dict[str, Any] = {
            "samples": len(sampling.samples),
            "measured_at": sampling.at.isoformat(sep=" ", timespec="seconds"),
        }
        if config.plots:
            with migration.database.connect("metrics") as connection:
                metadata |= _shown(sampling, metric_history(connection, sampling.at - PLOTTED))
    yield dg.MaterializeResult(metadata=metadata)


def _shown(sampling: Sampling, history: "pd.DataFrame") -> dict[str, Any]:
    """The plots of the metrics that have samples, and the tables of the dashboard."""
    drawn = {
        f"plot_{name}": reporting.picture(plots.over_time(history, metrics, title), title)
        for name, title, metrics in PLOTS
        if history["metric"].isin(metrics).any()
    }
    rows = {name: [reporting.plain(row) for row in rows] for name, rows in sampling.tables.items()}
    return drawn | {name: reporting.rows_table(table) for name, table in rows.items()}


job = dg.define_asset_job(
    "validation_metrics",
    selection=dg.AssetSelection.assets(migration_metrics),
    description="The dashboard queries now, with plots of the last two weeks. Writes only the samples.",
)


@dg.schedule(
    cron_schedule="*/5 * * * *",
    job=job,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    execution_timezone="UTC",
    description=(
        "A run every five minutes samples each metric; every six hours it also plots them. It changes no user data, so it is on "
        "by default. A run costs 4 s of a core."
    ),
)
def metrics_every_five_minutes(
    context: dg.ScheduleEvaluationContext, migration: Migration
) -> dg.RunRequest | dg.SkipReason:
    """Skips where the database is unreachable or before phase 1, and tries again."""
    if skipped := nothing_to_validate(migration):
        return skipped
    moment = context.scheduled_execution_time
    plots = moment.minute == 0 and moment.hour % 6 == 0
    return dg.RunRequest(run_config={"ops": {"migration_metrics": {"config": {"plots": plots}}}})
