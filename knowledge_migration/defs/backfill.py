"""Phase 3, backfill (strategy §5): plan, one run per partition, completion, and the integrity rules."""

from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg
from pydantic import Field

from knowledge_migration.defs import guards, reporting
from knowledge_migration.defs.resources import Migration
from knowledge_migration.engine.backfill import phase, plan, runner
from knowledge_migration.engine.foundation import legacy_rows
from knowledge_migration.engine.foundation.progress import Report, report_progress
from knowledge_migration.engine.validation import rules
from knowledge_migration.knowledge.entity_kinds import ATOM, KINDS, TOPIC, EntityKind

GROUP = "phase_3_backfill"
LOG_EVERY_ROWS = 5_000

PARTITIONS = {kind.name: dg.DynamicPartitionsDefinition(name=f"{kind.name}_id_ranges") for kind in KINDS}


class PlanConfig(dg.Config):
    """The forecast of the plan."""

    dry_run: bool = Field(
        default=False, description="Tries a sample of batches, rolls each back, and forecasts speed, duration and WAL."
    )
    sample_batches: int = Field(default=10, ge=1, description="Batches of the sample.")


@dg.asset(group_name=GROUP, deps=["dual_write_mode"], kinds={"postgres"}, check_specs=[guards.spec("backfill_plan")])
def backfill_plan(context: dg.AssetExecutionContext, config: PlanConfig, migration: Migration) -> Iterator[Any]:
    """The id ranges (partitions) of the backfill, up to a bound fixed now; the final sweep takes the rows above it.

    Reads only. With `dry_run: true` it tries a sample of batches, rolls each back, and forecasts speed, duration and WAL.
    """
    yield from guards.guarded(migration, "backfill_plan")
    settings = migration.settings
    with reporting.as_dagster_failure():
        migration.installation.require_rehearsed("phase 3", context.run.run_id)
        planned = phase.plan_backfill(
            migration.database,
            settings.backfill,
            settings.fence,
            partition_rows=settings.backfill.partition_rows,
            max_partitions=settings.backfill.max_partitions,
            sample_batches=config.sample_batches if config.dry_run else 0,
            no_live_writers=settings.dual_write.no_live_writers,
            dagster_run_id=context.run.run_id,
        )
    for entity_plan in planned.plans.values():
        follow_plan(context.instance, entity_plan)
    summary = [
        {
            "table": f"{name}s",
            "partitions": len(entity_plan.partitions),
            "rows in each": entity_plan.partition_rows,
            "last id": entity_plan.upper_id,
            "rows": entity_plan.rows,
            "already linked": entity_plan.linked,
        }
        for name, entity_plan in planned.plans.items()
    ]
    yield dg.MaterializeResult(
        metadata={
            "plan": reporting.rows_table(summary),
            "rows_to_do": sum(entity_plan.rows - entity_plan.linked for entity_plan in planned.plans.values()),
            "forecast": reporting.rows_table([vars(forecast) for forecast in planned.forecasts]),
        }
    )


def follow_plan(instance: dg.DagsterInstance, entity_plan: plan.EntityPlan) -> None:
    """Makes the keys of the plan the partitions of its asset; those of an earlier plan go."""
    name, keys = str(PARTITIONS[entity_plan.entity].name), [part.key for part in entity_plan.partitions]
    for key in set(instance.get_dynamic_partitions(name)) - set(keys):
        instance.delete_dynamic_partition(name, key)
    instance.add_dynamic_partitions(name, keys)


def _backfill_of(kind: EntityKind) -> dg.AssetsDefinition:
    name = f"{kind.name}_backfill"
    checks = ("partition_is_fully_linked", "partition_values_are_equal")

    @dg.asset(
        name=name,
        group_name=GROUP,
        partitions_def=PARTITIONS[kind.name],
        deps=[backfill_plan],
        check_specs=[guards.spec(name), *(dg.AssetCheckSpec(check, asset=name, blocking=True) for check in checks)],
        pool="backfill",
        kinds={"postgres"},
        description=(
            f"The rows of `{kind.table}` in one id range, each with its approved proposal in `{kind.proposal_table}`. Runs "
            "batches of bounded size and rate; `knowledge-migration backfill control` changes both or pauses a running "
            "backfill. Writes only the two link columns of a row. Resumes after any interruption. Undo: job "
            "`rollback_backfill` (target < 10 min for 10k rows)."
        ),
    )
    def backfill(context: dg.AssetExecutionContext, migration: Migration) -> Iterator[Any]:
        yield from guards.guarded(migration, name)
        with reporting.as_dagster_failure(), migration.database.connect("backfill checks") as connection:
            part = plan.planned_partition(connection, kind.name, context.partition_key)
            result = runner.backfill_partition(
                migration.database, part, migration.settings.backfill, **_reports(context, kind.table)
            )
            outcomes = rules.partition_outcomes(connection, result, sample=migration.settings.validation.rules_sample)
        yield dg.MaterializeResult(
            metadata={
                "linked_rows": result.linked_rows,
                "quarantined_rows": result.quarantined_rows,
                "batches": result.batches,
                "retries": result.retries,
                "rows_per_second": result.linked_rows / result.seconds if result.seconds else 0.0,
                "slowest_batch_ms": result.slowest_batch_seconds * 1000,
                "seconds": result.seconds,
            },
            check_results=[migration.check_result(outcome, asset=name) for outcome in outcomes],
        )

    return backfill


topic_backfill = _backfill_of(TOPIC)
atom_backfill = _backfill_of(ATOM)


@dg.asset(
    group_name=GROUP,
    deps=[topic_backfill, atom_backfill],
    kinds={"postgres"},
    check_specs=[guards.spec("backfill_completion")],
)
def backfill_completion(context: dg.AssetExecutionContext, migration: Migration) -> Iterator[Any]:
    """The final sweep over rows above the plan's bound and rows that a user held, until none is left; then ANALYZE.

    Marks the migration's run completed only when a count is zero. Undo: job `rollback_backfill`.
    """
    yield from guards.guarded(migration, "backfill_completion")
    settings = migration.settings
    with reporting.as_dagster_failure():
        result = phase.complete_backfill(
            migration.database,
            settings.backfill,
            settings.fence,
            no_live_writers=settings.dual_write.no_live_writers,
            reports=_reports(context, "sweep"),
        )
    yield dg.MaterializeResult(metadata={"swept_rows": result.linked_rows, "passes": result.passes})


def _reports(context: dg.AssetExecutionContext, work: str) -> dict[str, Any]:
    """The run id and the callbacks that a backfill reports to."""
    return {
        "dagster_run_id": context.run.run_id,
        "on_progress": _progress_logger(context.log.info, work),
        "on_pace": _pace_logger(context.log.info),
    }


def _pace_logger(log: Callable[[str], None]) -> Callable[[str], None]:
    """Logs why the backfill waits or changes its speed, each reason once until it differs."""
    logged = ""

    def report(reason: str) -> None:
        nonlocal logged
        if reason != logged:
            logged = reason
            log(f"backfill: {reason}")

    return report


def _progress_logger(log: Callable[[str], None], work: str) -> runner.OnProgress:
    """Reports every batch to listeners, and logs every few thousand rows with rate and ETA."""
    logged = 0

    def report(now: runner.Progress) -> None:
        nonlocal logged
        eta = "unknown" if now.eta_seconds is None else f"{now.eta_seconds:,.0f} s"
        speed = f"{now.rows_per_second:,.0f} rows/s, ETA {eta}"
        report_progress(Report(work, speed, now.done_rows, now.total_rows, "rows"))
        if now.done_rows - logged >= LOG_EVERY_ROWS or now.done_rows == now.total_rows:
            logged = now.done_rows
            log(f"{now.done_rows:,} of {now.total_rows:,} rows, {speed}")

    return report


@dg.multi_asset_check(
    name="integrity",
    can_subset=True,
    specs=[
        dg.AssetCheckSpec(
            rule.name, asset="backfill_completion", blocking=rule.severity == "error", description=rule.description
        )
        for rule in rules.RULES
    ],
)
def integrity_checks(context: dg.AssetCheckExecutionContext, migration: Migration) -> Iterator[dg.AssetCheckResult]:
    """Every integrity rule over the whole tables (strategy §5.3, §9.1). Reads only."""
    sample = migration.settings.validation.rules_sample
    selected = {key.name for key in context.selected_asset_check_keys}
    with reporting.as_dagster_failure(), migration.database.connect("integrity checks") as connection:
        for number, rule in enumerate(rules.RULES, start=1):
            if rule.name in selected:
                outcome = rules.evaluate(connection, rule, sample=sample)
                report_progress(Report("integrity rules", rule.name, number, len(rules.RULES), "rules"))
                yield migration.check_result(outcome, asset="backfill_completion", warns=rule.severity == "warn")


@dg.asset_check(asset=backfill_completion, name=legacy_rows.CHECK, blocking=True)
def legacy_rows_after_the_backfill(migration: Migration) -> dg.AssetCheckResult:
    """The legacy rows are those of the fingerprint before the migration, unless users wrote or deleted them since."""
    with reporting.as_dagster_failure(), migration.database.connect("integrity checks") as connection:
        outcome = legacy_rows.outcome(connection, migration.settings.validation)
    return migration.check_result(outcome, asset="backfill_completion")


plan_job = dg.define_asset_job(
    "phase_3_plan",
    selection=dg.AssetSelection.assets(backfill_plan),
    description="Fixes the id ranges of the backfill. Reads only.",
)
partition_jobs = [
    dg.define_asset_job(
        f"phase_3_{kind.name}_backfill",
        selection=dg.AssetSelection.assets(f"{kind.name}_backfill"),
        description=f"One id range of {kind.table}. Undo: rollback_backfill.",
    )
    for kind in KINDS
]
completion_job = dg.define_asset_job(
    "phase_3_completion",
    selection=dg.AssetSelection.assets(backfill_completion, "performance_comparison"),
    description="The final sweep and every integrity rule; compares performance afterwards. Undo: rollback_backfill.",
)
