"""The whole code location: the phases in the strategy's order, the checks that gate them, the rollbacks."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from knowledge_migration.defs import (
    alerting,
    backfill,
    cleanup,
    cutover,
    dual_write,
    metrics,
    performance,
    preparation,
    quality,
    rehearsal,
    rollbacks,
    schema,
    sensors,
    validation,
)
from knowledge_migration.defs.resources import Migration

PHASES = (preparation, rehearsal, schema, dual_write, backfill, cutover, cleanup)
BESIDE = (validation, metrics, quality, performance)


def build_defs(overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """The definitions of production; `overrides` replaces resources, for tests."""
    return dg.Definitions(
        assets=[asset for phase in (*PHASES, *BESIDE) for asset in phase.ASSETS],
        asset_checks=[check for phase in (*PHASES, *BESIDE) for check in phase.CHECKS],
        jobs=[
            preparation.job,
            schema.job,
            dual_write.job,
            backfill.plan_job,
            *backfill.partition_jobs,
            backfill.completion_job,
            cutover.job,
            cleanup.job,
            rehearsal.drill_job,
            *rollbacks.JOBS,
            *(job for part in BESIDE for job in part.JOBS),
        ],
        sensors=[*sensors.SENSORS, *alerting.SENSORS],
        schedules=[rehearsal.weekly_drill, *(schedule for part in BESIDE for schedule in part.SCHEDULES)],
        resources={"migration": Migration(), **(overrides or {})},
        # the heavy work is SQL in the server; a process per step would cost 2-3 s each and gain nothing
        executor=dg.in_process_executor,
    )


defs = build_defs()
