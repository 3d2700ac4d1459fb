"""Validation with Great Expectations (strategy §9.1): all suites against the live database, and the sign-off document."""

import dagster as dg

from knowledge_migration.defs import reporting
from knowledge_migration.defs.resources import Migration
from knowledge_migration.defs.scheduling import read_only_schedule
from knowledge_migration.engine.foundation.check_outcome import CheckOutcome
from knowledge_migration.quality.documents import ABSENT
from knowledge_migration.quality.expectations import SuiteOutcome
from knowledge_migration.quality.suites import BLUEPRINTS
from knowledge_migration.quality.validation import Validation, validate

ASSET = "quality_validation"
YOURS = "your_suites_meet_expectations"


def check_name(suite: str) -> str:
    """The name of a suite's check."""
    return f"{suite}_meet_expectations"


@dg.multi_asset(
    name="quality_suites",
    specs=[
        dg.AssetSpec(
            ASSET,
            deps=["evidence_store"],
            group_name="operations",
            kinds={"postgres"},
            description=(
                "All Great Expectations suites against the live tables, with their Data Docs as the sign-off document. "
                "Read-only, in sessions with a statement timeout; costs a few scans of each table. Undo: delete the folder "
                "of the documents."
            ),
        )
    ],
    check_specs=[
        *(
            dg.AssetCheckSpec(
                check_name(blueprint.name),
                asset=ASSET,
                description=f"Every expectation of the suite on {blueprint.table} is met; ERROR if a critical one is not.",
            )
            for blueprint in BLUEPRINTS
        ),
        dg.AssetCheckSpec(
            YOURS, asset=ASSET, description="Every expectation of the suites in KNOWLEDGE_MIGRATION_SUITES is met."
        ),
    ],
)
def quality_validation(context: dg.AssetExecutionContext, migration: Migration) -> dg.MaterializeResult:
    """One validation; each suite has its own check."""
    with reporting.as_dagster_failure():
        validation = validate(
            migration.database,
            migration.settings.home / "data_docs",
            migration.settings,
            progress=reporting.progress_reporter(context.log.info, "quality"),
            dagster_run_id=context.run.run_id,
        )
    return dg.MaterializeResult(
        metadata={
            "passed": validation.passed,
            "suites": reporting.rows_table(validation.as_rows()),
            "data_docs": dg.MetadataValue.path(str(validation.index)),
            "data_docs_page": dg.MetadataValue.url(validation.index.as_uri()),
        },
        check_results=[
            *(_result(check_name(outcome.suite.name), (outcome,)) for outcome in validation.suites),
            *(
                reporting.not_evaluated(check_name(name), f"Not validated: the table {table} is {ABSENT}.")
                for name, table in validation.absent
            ),
            _yours(validation),
        ],
    )


def _yours(validation: Validation) -> dg.AssetCheckResult:
    """The user's suites as one check, which also reports that there are none."""
    if validation.yours:
        return _result(YOURS, validation.yours)
    result = "There are no suites of yours: KNOWLEDGE_MIGRATION_SUITES names no folder."
    return dg.AssetCheckResult(check_name=YOURS, passed=True, description=result, metadata={"result": result})


def _result(name: str, suites: tuple[SuiteOutcome, ...]) -> dg.AssetCheckResult:
    failed = [row for suite in suites for row in suite.failed_rows()]
    expectations = sum(len(suite.outcomes) for suite in suites)
    outcome = CheckOutcome(
        name=name,
        count=len(failed),
        sample=tuple(failed),
        description=f"Each of {expectations} expectations on {', '.join(suite.suite.table for suite in suites)} is met.",
        remedy="The table lists each expectation that is not met, with its remedy.",
        numbers={"expectations": expectations, "critical": sum(suite.critical for suite in suites)},
    )
    return reporting.check_result(outcome, asset=ASSET, warns=bool(failed) and all(suite.passed for suite in suites))


quality_job = dg.define_asset_job(
    "validation_quality",
    selection=dg.AssetSelection.assets(quality_validation),
    description="All Great Expectations suites against the live tables, and the sign-off document. Read-only.",
)
nightly_quality = read_only_schedule(
    "nightly_quality_validation",
    quality_job,
    "30 2 * * *",
    "Every night at 2:30 UTC. Costs a few scans of each table: 10 s and 250 MB of this process on 188,000 atoms with their "
    "proposals. Read-only.",
)
