"""Performance (strategy §9.3, §6.4): list queries against their limits, and endpoints against the baseline."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from knowledge_migration.defs import backfill, dual_write, guards, reporting, schema
from knowledge_migration.defs.resources import Migration
from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.observability import plots
from knowledge_migration.engine.validation.performance import comparison

if TYPE_CHECKING:
    from knowledge_migration.engine.validation.performance.limits import PerformanceValidation

GROUP = "operations"
LIMITS = "queries_keep_to_their_limits"
SCANS = "no_query_reads_a_large_table_whole"
AS_BEFORE = "endpoints_are_as_fast_as_before"
NO_BASELINE = "Not compared: this database has no baseline (asset performance_baseline, before phase 1)."
PHASE_OF_JOB = {
    "phase_1_schema": schema.GROUP,
    "phase_2_dual_write": dual_write.GROUP,
    "phase_3_completion": backfill.GROUP,
}


@dg.asset(
    group_name=GROUP,
    deps=["backfill_completion"],
    check_specs=[
        guards.spec("performance_validation"),
        dg.AssetCheckSpec(LIMITS, asset="performance_validation"),
        dg.AssetCheckSpec(SCANS, asset="performance_validation"),
    ],
    kinds={"postgres"},
)
def performance_validation(context: dg.AssetExecutionContext, migration: Migration) -> Iterator[Any]:
    """Times the benchmark queries of the strategy and the service's lists against their limits, and explains each.

    Read-only session; takes seconds, or minutes if an index is missing. EXPLAIN ANALYZE executes each statement once more. The
    limits are those of the gates `slow_…_lists` and `slow_run_histories`.
    """
    yield from guards.guarded(migration, "performance_validation")
    from knowledge_migration.engine.validation.performance import limits

    settings = migration.settings
    with reporting.as_dagster_failure():
        measured = limits.validate(
            migration.database,
            settings.cutover.gates,
            samples=settings.performance.samples,
            large_rows=settings.performance.large_table_rows,
        )
        with migration.database.connect("performance validation") as connection:
            evidence.record(connection, limits.KIND, measured.to_evidence(), dagster_run_id=context.run.run_id)
    table = reporting.rows_table([verdict.as_row() for verdict in measured.verdicts])
    scans = limits.scans_outcome(measured, settings.performance.large_table_rows)
    yield dg.MaterializeResult(
        metadata={"queries": table, "proposals": measured.proposals, **_plans(measured)},
        check_results=[
            migration.check_result(
                limits.limits_outcome(measured), asset="performance_validation", shows={"queries": table}
            ),
            migration.check_result(scans, asset="performance_validation", warns=True),
        ],
    )


def _plans(measured: "PerformanceValidation") -> dict[str, dg.MarkdownMetadataValue]:
    """The plans of each query as text."""
    return {
        f"plan_{verdict.query}": dg.MetadataValue.md("\n\n".join(f"```\n{plan.as_text}\n```" for plan in verdict.plans))
        for verdict in measured.verdicts
    }


@dg.asset(
    group_name=GROUP,
    deps=["performance_baseline", "proposal_schema", "feature_flag_store", "dual_write_probe", "backfill_completion"],
    check_specs=[dg.AssetCheckSpec(AS_BEFORE, asset="performance_comparison")],
    kinds={"postgres"},
)
def performance_comparison(context: dg.AssetExecutionContext, migration: Migration) -> dg.MaterializeResult:
    """Measures the endpoint queries and BASELINE_URLS against the baseline, after phases 1, 2 and 3 and at any time.

    Read-only; takes seconds. Control queries normalise for machine speed. Without a baseline nothing is compared; the check
    reports that, and the run succeeds.
    """
    settings = migration.settings
    phase = PHASE_OF_JOB.get(context.run.job_name, GROUP)
    (slowdown,) = (gate for gate in settings.cutover.gates if gate.metric == "extraction_slowdown")
    with reporting.as_dagster_failure(), migration.database.connect("performance comparison") as connection:
        if evidence.latest(connection, "performance_baseline") is None:
            check = reporting.not_evaluated(AS_BEFORE, NO_BASELINE)
            checks = migration.recorded("performance_comparison", check)
            return dg.MaterializeResult(metadata={"result": NO_BASELINE}, check_results=checks)
        compared = comparison.compare_within(
            connection,
            phase,
            samples=settings.performance.baseline_samples,
            limit_ratio=slowdown.threshold,
            pages=migration.installation.measured_pages,
        )
        evidence.record(connection, comparison.KIND, compared.to_evidence(), dagster_run_id=context.run.run_id)
    reporting.progress_reporter(context.log.info, "performance comparison")(
        f"the slowest endpoint takes {compared.slowest_ratio:.2f} times its latency in the baseline"
    )
    outcome = comparison.comparison_outcome(compared)
    return dg.MaterializeResult(
        metadata={
            "queries": reporting.rows_table([one.as_row("query") for one in compared.queries]),
            "pages": reporting.rows_table([one.as_row("url") for one in compared.urls]),
            "not_in_the_baseline": reporting.rows_table([{"name": one} for one in compared.not_in_the_baseline]),
            "plot": reporting.picture(plots.before_and_after(compared.as_frame()), "medians before and after"),
            "slowest_ratio": compared.slowest_ratio,
            "after": phase,
        },
        check_results=[migration.check_result(outcome, asset="performance_comparison", warns=True)],
    )


job = dg.define_asset_job(
    "validation_performance",
    selection=dg.AssetSelection.assets(performance_validation, performance_comparison),
    description="List queries against their limits, endpoints against the baseline. Read-only.",
)
