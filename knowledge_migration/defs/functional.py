"""Validation of the running service (strategy §9.2, §9.3): the four scenarios, and the load test."""

import dagster as dg

from knowledge_migration.defs import reporting
from knowledge_migration.defs.resources import Migration
from knowledge_migration.engine.foundation import progress
from knowledge_migration.engine.observability import plots
from knowledge_migration.engine.validation import functional, load

SEVERITY = {
    "pass": dg.AssetCheckSeverity.ERROR,
    "fail": dg.AssetCheckSeverity.ERROR,
    "not shown": dg.AssetCheckSeverity.WARN,
}


@dg.asset(
    group_name="operations",
    deps=["cutover_stage"],
    check_specs=[
        dg.AssetCheckSpec(name, asset="functional_validation", description=words)
        for name, words in functional.SCENARIOS.items()
    ],
    kinds={"postgres"},
)
def functional_validation(context: dg.AssetExecutionContext, migration: Migration) -> dg.MaterializeResult:
    """The strategy's four scenarios, tried on the service at KNOWLEDGE_SERVICE_URL through its API.

    WRITES messages, proposals and topics of its own, marked, and removes them again, also what a killed one has left; touches no
    row of anybody else. Refused unless FUNCTIONAL_VALIDATION_ALLOWED=true, for users may see these rows for seconds.
    """
    with reporting.as_dagster_failure():
        migration.installation.require_functional_validation_allowed()
        done = functional.validate(
            migration.database, migration.installation.service_address, dagster_run_id=context.run.run_id
        )
    return dg.MaterializeResult(
        metadata={
            "scenarios": reporting.rows_table([one.as_row() for one in done.scenarios]),
            "mode": done.mode,
            "service": done.url,
            "removed_rows": done.removed[-1].rows,
            "leftovers_removed": sum(one.rows for one in done.removed[:-1]),
            "kept": reporting.rows_table([{"row": one} for one in done.kept]),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name=one.name,
                passed=one.verdict == "pass",
                severity=SEVERITY[one.verdict],
                description=f"{one.verdict.capitalize()}: {one.words}",
                metadata={"seconds": one.seconds},
            )
            for one in done.scenarios
        ],
    )


class LoadConfig(dg.Config):
    """How hard the service is loaded."""

    concurrency: int = 50
    requests: int = 50


@dg.asset(
    group_name="operations",
    deps=["cutover_stage"],
    check_specs=[dg.AssetCheckSpec("the_load_test_keeps_to_its_limits", asset="load_test")],
    kinds={"postgres"},
)
def load_test(context: dg.AssetExecutionContext, config: LoadConfig, migration: Migration) -> dg.MaterializeResult:
    """Fifty extractions at once through the service at KNOWLEDGE_SERVICE_URL: percentiles, errors, connections in use.

    WRITES copies of the latest messages and what is extracted from them, marked, and removes all of it. Refused unless
    LOAD_TEST_ALLOWED=true: it slows users down while it lasts.
    """

    def told(answered: int) -> None:
        progress.tell(progress.Report("load test", "extractions", answered, config.requests, "requests"))

    with reporting.as_dagster_failure():
        migration.installation.require_load_test_allowed()
        done = load.run_load_test(
            migration.database,
            migration.installation.service_address,
            migration.settings.cutover.gates,
            concurrency=config.concurrency,
            requests=config.requests,
            on_answer=told,
            dagster_run_id=context.run.run_id,
        )
    plot = (
        {"plot": reporting.picture(plots.load_percentiles(done.to_evidence()), "percentiles")} if done.answered else {}
    )
    return dg.MaterializeResult(
        metadata={"result": reporting.rows_table([reporting.plain(done.to_evidence())]), **plot},
        check_results=[reporting.check_result(load.load_outcome(done), asset="load_test")],
    )


ASSETS = [functional_validation, load_test]
CHECKS: list[dg.AssetChecksDefinition] = []
JOBS = [
    dg.define_asset_job(
        "validate_functions",
        selection=dg.AssetSelection.assets(functional_validation),
        description="The four scenarios of the strategy on the running service; writes marked rows and removes them.",
    ),
    dg.define_asset_job(
        "validation_load",
        selection=dg.AssetSelection.assets(load_test),
        description="Fifty extractions at once on the running service; writes marked rows and removes them.",
    ),
]
SCHEDULES: list[dg.ScheduleDefinition] = []
