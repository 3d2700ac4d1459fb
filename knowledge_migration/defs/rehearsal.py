"""The staging rehearsal of phase 0 and the rollback drill, on a clone of this database (strategy §2.3, §8.3)."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from knowledge_migration.defs import guards, reporting
from knowledge_migration.defs.resources import Migration
from knowledge_migration.engine.cutover.readiness import drill_outcome
from knowledge_migration.engine.observability import plots
from knowledge_migration.engine.rehearsal.drill import Drill, record, run_drill
from knowledge_migration.engine.rehearsal.rehearsal import rehearse

REHEARSED = "rehearsed_rollbacks_are_equal_and_in_time"


@dg.asset(
    group_name="phase_0_preparation",
    deps=["verified_backup", "data_quality_report"],
    check_specs=[
        guards.spec("staging_rehearsal"),
        dg.AssetCheckSpec(REHEARSED, asset="staging_rehearsal", blocking=True),
    ],
    kinds={"postgres"},
)
def staging_rehearsal(context: dg.AssetExecutionContext, migration: Migration) -> Iterator[Any]:
    """The whole migration and every rollback on a clone of this database, restored from the verified backup, then dropped.

    Production is only read. Times each phase and forecasts production; binds the plan (SQL, code, settings): later phases
    refuse another one. KNOWLEDGE_MIGRATION_SKIP_REHEARSAL_REASON skips it, with a reason, audited.
    """
    yield from guards.guarded(migration, "staging_rehearsal")
    reason = migration.settings.rehearsal.skip_reason
    if reason:
        why = f"Nothing was rehearsed. KNOWLEDGE_MIGRATION_SKIP_REHEARSAL_REASON says: {reason}"
        checks = migration.recorded("staging_rehearsal", reporting.not_evaluated(REHEARSED, why))
        yield dg.MaterializeResult(metadata={"skipped": reason}, check_results=checks)
        return
    settings = migration.settings
    with reporting.as_dagster_failure():
        done = rehearse(
            migration.database,
            migration.installation.drill_options,
            migration.installation.plan,
            batch_size=settings.backfill.batch_size,
            rate_limit_per_second=settings.backfill.fixed_rate,
            progress=reporting.progress_reporter(context.log.info, "rehearsal"),
            dagster_run_id=context.run.run_id,
        )
        with migration.database.connect("rehearsal") as connection:
            outcome = drill_outcome(connection, settings.rehearsal.drill_max_age_days)
    yield dg.MaterializeResult(
        metadata={
            "plan_hash": done.plan.hash,
            "seconds_in_production": done.seconds_in_production,
            "phases": reporting.rows_table([forecast.as_row() for forecast in done.forecasts]),
            **_drilled(done.drill),
        },
        check_results=migration.recorded(
            "staging_rehearsal",
            dg.AssetCheckResult(
                check_name=REHEARSED,
                passed=outcome.passed,
                description=outcome.sentence,
                metadata={"paths": reporting.rows_table([path.as_row() for path in done.drill.paths])},
            ),
        ),
    )


@dg.asset(
    group_name="operations", deps=["verified_backup"], kinds={"postgres"}, check_specs=[guards.spec("rollback_drill")]
)
def rollback_drill(context: dg.AssetExecutionContext, migration: Migration) -> Iterator[Any]:
    """Every rollback on a clone of this database, restored from its last backup, timed against the strategy's limits.

    Production is only read. A promotion of the cutover needs a fresh one; take a fresh backup before.
    """
    yield from guards.guarded(migration, "rollback_drill")
    with reporting.as_dagster_failure():
        drill = run_drill(
            migration.database,
            migration.installation.drill_options,
            progress=reporting.progress_reporter(context.log.info, "drill"),
        )
        record(migration.database, drill, plan_hash=migration.installation.plan.hash, dagster_run_id=context.run.run_id)
    yield dg.MaterializeResult(metadata=_drilled(drill))


@dg.asset_check(asset=rollback_drill, blocking=True)
def every_rollback_is_equal_and_in_time(migration: Migration) -> dg.AssetCheckResult:
    """The latest drill is fresh; every rollback left the legacy tables equal, within its time limit."""
    with reporting.as_dagster_failure(), migration.database.connect("drill check") as connection:
        outcome = drill_outcome(connection, migration.settings.rehearsal.drill_max_age_days)
    return migration.check_result(outcome, asset="rollback_drill")


def _drilled(drill: Drill) -> dict[str, dg.MetadataValue | float | bool]:
    rows = [path.as_row() for path in drill.paths]
    return {
        "passed": drill.passed,
        "seconds": drill.seconds,
        "seconds_to_clone": drill.clone_seconds,
        "rollbacks": reporting.rows_table(rows),
        "side_effects": reporting.rows_table([vars(one) for one in drill.side_effects]),
        "rows_for_quarantine": reporting.rows_table([vars(one) for one in drill.set_aside]),
        "plot": reporting.picture(plots.rollback_times(rows), "seconds of each rollback, and its limit"),
    }


drill_job = dg.define_asset_job(
    "validation_rollback_drill",
    selection=dg.AssetSelection.assets(rollback_drill),
    description="Every rollback on a clone, timed and compared. Production is only read.",
)
weekly_drill = dg.ScheduleDefinition(
    name="weekly_rollback_drill",
    job=drill_job,
    cron_schedule="0 3 * * 0",
    execution_timezone="UTC",
    description=(
        "Sundays at 3:00 UTC; switch it on once the schema phase is done. Restores the latest backup on the scratch server and "
        "runs the whole migration there. Costs 15 s for 14,000 rows, minutes for a million; production is only read."
    ),
)
