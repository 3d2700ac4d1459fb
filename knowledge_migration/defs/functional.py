"""Validation of the running service (strategy §9.2, §9.3): the four scenarios, and the load test."""

import dagster as dg

from knowledge_migration.defs import reporting
from knowledge_migration.defs.resources import Migration
from knowledge_migration.engine.foundation import progress
from knowledge_migration.engine.observability import plots
from knowledge_migration.engine.validation import functional, load


@dg.asset(
    group_name="operations",
    deps=["cutover_stage"],
    check_specs=[
        dg.AssetCheckSpec(name, asset="functional_validation", description=description)
        for name, description in functional.SCENARIOS.items()
    ],
    kinds={"postgres"},
)
def functional_validation(context: dg.AssetExecutionContext, migration: Migration) -> dg.MaterializeResult:
    """Runs the strategy's four scenarios on the service at KNOWLEDGE_SERVICE_URL through its API.

    WRITES synthetic messages, proposals and topics, and removes them and the leftovers of a killed validation; changes no other
    row. Requires FUNCTIONAL_VALIDATION_ALLOWED=true, because users may see these rows for some seconds.
    """
    with reporting.as_dagster_failure():
        migration.installation.require_functional_validation_allowed()
        result = functional.validate(
            migration.database, migration.installation.service_address, dagster_run_id=context.run.run_id
        )
    return dg.MaterializeResult(
        metadata={
            "scenarios": reporting.rows_table([one.as_row() for one in result.scenarios]),
            "mode": result.mode,
            "service": result.url,
            "removed_rows": result.removed[-1].rows,
            "leftovers_removed": result.leftovers,
            "kept": reporting.rows_table([{"row": one} for one in result.kept]),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name=one.name,
                passed=one.verdict == "pass",
                severity=reporting.severity(warns=one.verdict == "inconclusive"),
                description=f"{one.verdict.capitalize()}: {one.message}",
                metadata={"seconds": one.seconds},
            )
            for one in result.scenarios
        ],
    )


class LoadConfig(dg.Config):
    """The load on the service."""

    concurrency: int = 50
    requests: int = 50


@dg.asset(
    group_name="operations",
    deps=["cutover_stage"],
    check_specs=[dg.AssetCheckSpec("the_load_test_keeps_to_its_limits", asset="load_test")],
    kinds={"postgres"},
)
def load_test(context: dg.AssetExecutionContext, config: LoadConfig, migration: Migration) -> dg.MaterializeResult:
    """Sends 50 concurrent extractions to the service at KNOWLEDGE_SERVICE_URL: percentiles, errors, connections in use.

    WRITES copies of the latest messages, and removes them with all rows that the extractions create. Requires
    LOAD_TEST_ALLOWED=true, because it slows users down.
    """

    def report_answered(answered: int) -> None:
        progress.report_progress(progress.Report("load test", "extractions", answered, config.requests, "requests"))

    with reporting.as_dagster_failure():
        migration.installation.require_load_test_allowed()
        result = load.run_load_test(
            migration.database,
            migration.installation.service_address,
            migration.settings.cutover.gates,
            concurrency=config.concurrency,
            requests=config.requests,
            on_answer=report_answered,
            dagster_run_id=context.run.run_id,
        )
    plot = (
        {"plot": reporting.picture(plots.load_percentiles(result.to_evidence()), "percentiles")}
        if result.answered
        else {}
    )
    return dg.MaterializeResult(
        metadata={"result": reporting.rows_table([reporting.plain(result.to_evidence())]), **plot},
        check_results=[reporting.check_result(load.load_outcome(result), asset="load_test")],
    )


ASSETS = [functional_validation, load_test]
CHECKS: list[dg.AssetChecksDefinition] = []
JOBS = [
    dg.define_asset_job(
        "validate_functions",
        selection=dg.AssetSelection.assets(functional_validation),
        description="The strategy's four scenarios on the running service. Writes synthetic rows and removes them.",
    ),
    dg.define_asset_job(
        "validation_load",
        selection=dg.AssetSelection.assets(load_test),
        description="50 concurrent extractions on the running service. Writes synthetic rows and removes them.",
    ),
]
SCHEDULES: list[dg.ScheduleDefinition] = []
