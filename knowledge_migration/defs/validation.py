"""Validation at any time and on a schedule, independent of the phases (strategy §9, §11.1).

Value verification, the fingerprint, the running service (four scenarios and the load test), and the criteria.
"""

from collections.abc import Iterator
from typing import Any, get_args

import dagster as dg
from pydantic import Field

from knowledge_migration.defs import backfill, dual_write, guards, preparation, reporting, schema
from knowledge_migration.defs.resources import Migration
from knowledge_migration.defs.scheduling import read_only_schedule
from knowledge_migration.engine.backfill.run import run_status
from knowledge_migration.engine.dual_write.fence import proven_fence
from knowledge_migration.engine.foundation import legacy_rows, progress
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.observability import plots
from knowledge_migration.engine.validation import functional, load
from knowledge_migration.engine.validation.criteria.checklist import SECTIONS
from knowledge_migration.engine.validation.criteria.evaluation import evaluate, record
from knowledge_migration.engine.validation.criteria.facts import Judged, Verdict
from knowledge_migration.engine.validation.integrity import evaluate_integrity
from knowledge_migration.engine.validation.value_verification import verification_outcome, verify

EVERY_RULE = "every_integrity_rule_is_satisfied"


@dg.asset_check(asset="legacy_fingerprint")
def legacy_rows_equal_the_fingerprint(migration: Migration) -> dg.AssetCheckResult:
    """Every row of the fingerprint is there, unaltered unless it was written since; the limits are settings."""
    with reporting.as_dagster_failure(), migration.database.connect("fingerprint check") as connection:
        outcome = legacy_rows.outcome(connection, migration.settings.validation)
    return migration.check_result(outcome, asset=legacy_rows.ASSET)


@dg.asset(
    group_name="operations",
    deps=["backfill_completion"],
    check_specs=[
        guards.spec("integrity_validation"),
        dg.AssetCheckSpec(
            EVERY_RULE, asset="integrity_validation", description="No rule that a promotion requires is violated."
        ),
    ],
    kinds={"postgres"},
)
def integrity_validation(context: dg.AssetExecutionContext, migration: Migration) -> Iterator[Any]:
    """Evaluates every rule that a promotion requires, and records each under its own asset. Reads only, but for the records.

    The rules are those of backfill and dual write, the declared schema, and the live writers.
    """
    yield from guards.guarded(migration, "integrity_validation")
    with reporting.as_dagster_failure():
        evaluated = evaluate_integrity(
            migration.database,
            migration.settings,
            dagster_run_id=context.run.run_id,
            progress=reporting.progress_reporter(context.log.info, "integrity rules"),
        )
    violated = [one for one in evaluated if not one.outcome.passed]
    rules = [
        {
            "asset": one.asset,
            "rule": one.outcome.name,
            "violations": one.outcome.count,
            "description": one.outcome.description,
            "what to do": "" if one.outcome.passed else one.outcome.remedy,
        }
        for one in sorted(evaluated, key=lambda one: one.outcome.passed)
    ]
    samples = {
        f"sample_{one.outcome.name}": reporting.rows_table([reporting.plain(row) for row in one.outcome.sample])
        for one in violated
    }
    names = ", ".join(one.outcome.name for one in violated)
    yield from migration.recorded(
        "integrity_validation",
        dg.AssetCheckResult(
            check_name=EVERY_RULE,
            passed=not violated,
            description=f"{len(violated)} of {len(evaluated)} rules are violated: {names}."
            if violated
            else "All are satisfied.",
            metadata={"rules": reporting.rows_table(rules), **samples},
        ),
    )
    yield dg.MaterializeResult(metadata={"rules": reporting.rows_table(rules), "violated": len(violated)})


class VerificationConfig(dg.Config):
    """The extent of a value verification."""

    whole: bool = Field(
        default=False, description="Compares all rows, not only those that were written since the last pass."
    )


@dg.asset(
    group_name="operations",
    deps=["backfill_completion"],
    kinds={"postgres"},
    check_specs=[guards.spec("value_verification")],
)
def value_verification(
    context: dg.AssetExecutionContext, config: VerificationConfig, migration: Migration
) -> Iterator[Any]:
    """Compares every linked row written since the last pass with its proposal, value by value; once a week all rows.

    Reads only. A difference counts when a second reading after a delay confirms it.
    """
    yield from guards.guarded(migration, "value_verification")
    settings = migration.settings
    with reporting.as_dagster_failure():
        done = verify(
            migration.database,
            whole=config.whole,
            whole_every_days=settings.verification.whole_days,
            settle_seconds=settings.verification.settle_seconds,
            dagster_run_id=context.run.run_id,
        )
    rows = [one.as_row() for one in done.tables]
    metadata: dict[str, Any] = {
        "tables": reporting.rows_table(rows),
        "compared_rows": sum(one.compared for one in done.tables),
        "differing_rows": sum(len(one.differing) for one in done.tables),
        "last_whole_pass": done.whole_at.isoformat(sep=" ", timespec="seconds"),
    }
    yield dg.MaterializeResult(metadata=metadata | ({"why_whole_tables": done.why_whole} if done.why_whole else {}))


@dg.asset_check(asset=value_verification, blocking=True)
def no_value_differs(migration: Migration) -> dg.AssetCheckResult:
    """The latest value verification is fresh and found no row that differs from its proposal."""
    with reporting.as_dagster_failure(), migration.database.connect("verification check") as connection:
        outcome = verification_outcome(
            connection,
            max_age_hours=migration.settings.verification.max_age_hours,
            sample=migration.settings.validation.rules_sample,
        )
    return migration.check_result(outcome, asset="value_verification")


@dg.asset(
    group_name="operations",
    deps=["cutover_stage"],
    check_specs=[
        guards.spec("functional_validation"),
        *(
            dg.AssetCheckSpec(name, asset="functional_validation", description=description)
            for name, description in functional.SCENARIOS.items()
        ),
    ],
    kinds={"postgres"},
)
def functional_validation(context: dg.AssetExecutionContext, migration: Migration) -> Iterator[Any]:
    """Runs the strategy's four scenarios on the running service through its API.

    WRITES synthetic messages, proposals and topics, and removes them and the leftovers of a killed validation; changes no other
    row. Requires FUNCTIONAL_VALIDATION_ALLOWED=true, because users may see these rows for some seconds.
    """
    yield from guards.guarded(migration, "functional_validation")
    with reporting.as_dagster_failure():
        result = functional.validate(
            migration.database, migration.installation.service_address, dagster_run_id=context.run.run_id
        )
    yield dg.MaterializeResult(
        metadata={
            "scenarios": reporting.rows_table([one.as_row() for one in result.scenarios]),
            "mode": result.mode,
            "service": result.url,
            "removed_rows": result.removed[-1].rows,
            "leftovers_removed": result.leftovers,
            "kept": reporting.rows_table([{"row": one} for one in result.kept]),
        },
        check_results=migration.recorded(
            "functional_validation",
            *(
                dg.AssetCheckResult(
                    check_name=one.name,
                    passed=one.verdict == "pass",
                    severity=reporting.severity(warns=one.verdict == "inconclusive"),
                    description=f"{one.verdict.capitalize()}: {one.message}",
                    metadata={"seconds": one.seconds},
                )
                for one in result.scenarios
            ),
        ),
    )


class LoadConfig(dg.Config):
    """The load on the service."""

    concurrency: int = Field(default=50, ge=1, description="Requests at the same time.")
    requests: int = Field(default=50, ge=1, description="Requests in all.")


@dg.asset(
    group_name="operations",
    deps=["cutover_stage"],
    check_specs=[guards.spec("load_test"), dg.AssetCheckSpec("the_load_test_keeps_to_its_limits", asset="load_test")],
    kinds={"postgres"},
)
def load_test(context: dg.AssetExecutionContext, config: LoadConfig, migration: Migration) -> Iterator[Any]:
    """Sends 50 concurrent extractions to the running service: percentiles, errors, connections in use.

    WRITES copies of the latest messages, and removes them with all rows that the extractions create. Requires
    LOAD_TEST_ALLOWED=true, because it slows users down.
    """
    yield from guards.guarded(migration, "load_test")

    def report_answered(answered: int) -> None:
        progress.report_progress(progress.Report("load test", "extractions", answered, config.requests, "requests"))

    with reporting.as_dagster_failure():
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
    yield dg.MaterializeResult(
        metadata={"result": reporting.rows_table([reporting.plain(result.to_evidence())]), **plot},
        check_results=[migration.check_result(load.load_outcome(result), asset="load_test")],
    )


def check_name(section: str) -> str:
    """The name of the check of one section: §11.1 Data integrity is `data_integrity_criteria_are_met`."""
    return f"{section.partition(' ')[2].lower().replace(' ', '_')}_criteria_are_met"


@dg.asset(
    group_name="operations",
    deps=["backfill_completion", "cutover_stage"],
    check_specs=[
        dg.AssetCheckSpec(
            check_name(section), asset="success_criteria", description=f"Every criterion of {section} is met."
        )
        for section in SECTIONS
    ],
    kinds={"postgres"},
)
def success_criteria(context: dg.AssetExecutionContext, migration: Migration) -> dg.MaterializeResult:
    """Every checkbox of the strategy with its evidence: met, not met, no evidence yet, or for a person.

    Read-only; also queries the running service. `knowledge-migration criteria confirm` records the
    confirmation of a person. A criterion without data is never met.
    """
    with reporting.as_dagster_failure(), migration.installation.criteria_facts() as facts:
        judged = evaluate(facts)
        record(facts.connection, judged, dagster_run_id=context.run.run_id)
    counts = {verdict: sum(one.judgement.verdict == verdict for one in judged) for verdict in get_args(Verdict)}
    return dg.MaterializeResult(
        metadata={
            "criteria": reporting.rows_table([one.as_row() for one in judged]),
            "plot": reporting.picture(
                plots.verdicts_by_section([one.as_row() for one in judged]), "verdicts by section"
            ),
            **{verdict.replace(" ", "_"): count for verdict, count in counts.items()},
        },
        check_results=migration.recorded("success_criteria", *(_result(section, judged) for section in SECTIONS)),
    )


def _result(section: str, judged: list[Judged]) -> dg.AssetCheckResult:
    """ERROR if a criterion is not met; WARN if one has no evidence yet or is for a person."""
    rows = [one for one in judged if one.criterion.section == section]
    open_rows = [one for one in rows if one.judgement.verdict != "met"]
    failed = any(one.judgement.verdict == "not met" for one in open_rows)
    verdicts = "; ".join(f"{one.criterion.text}: {one.judgement.verdict}" for one in open_rows) or "All are met."
    return dg.AssetCheckResult(
        check_name=check_name(section),
        asset_key="success_criteria",
        passed=not open_rows,
        severity=reporting.severity(warns=not failed),
        description=f"{section}: {len(rows) - len(open_rows)} of {len(rows)} criteria are met. {verdicts}",
        metadata={"criteria": reporting.rows_table([one.as_row() for one in rows])},
    )


validation_job = dg.define_asset_job(
    "validation",
    selection=dg.AssetSelection.checks(
        preparation.preflight_checks,
        preparation.backup_file_is_unaltered,
        preparation.no_finding_blocks_the_backfill,
        schema.schema_matches_the_declaration,
        schema.no_reader_stalled,
        dual_write.dual_write_checks,
        dual_write.every_live_writer_dual_writes,
        backfill.integrity_checks,
        legacy_rows_equal_the_fingerprint,
    )
    | dg.AssetSelection.assets(value_verification, "performance_validation", "quality_validation"),
    description="Every check that only reads, evaluated now.",
)
integrity_job = dg.define_asset_job(
    "validation_integrity",
    selection=dg.AssetSelection.assets(integrity_validation),
    description="All integrity rules that a promotion requires, evaluated now. Read-only.",
)
verification_job = dg.define_asset_job(
    "validation_values",
    selection=dg.AssetSelection.assets(value_verification),
    description="Compares the values of rows written since the last pass. Read-only.",
)
criteria_job = dg.define_asset_job(
    "validation_criteria",
    selection=dg.AssetSelection.assets(success_criteria),
    description="Every checkbox of the strategy, judged now. Read-only.",
)


def _before_the_rules_apply(migration: Migration) -> str | None:
    """The rules of a promotion apply from the end of the backfill, while dual write is proven."""
    with migration.database.connect("schedule") as connection:
        if run_status(connection) != "completed":
            return "The backfill is not complete; the rules of a promotion do not apply yet."
    try:
        proven_fence(migration.database)
    except PreconditionError as error:
        return str(error)
    return None


hourly_integrity = read_only_schedule(
    "hourly_integrity",
    integrity_job,
    "10 * * * *",
    "Ten past every hour; a promotion requires checks of the last hour. Costs 12 s of CPU time for a million rows. Read-only.",
    _before_the_rules_apply,
)
nightly_value_verification = read_only_schedule(
    "nightly_value_verification",
    verification_job,
    "30 1 * * *",
    "At 1:30 UTC. Costs 0.4 s for a million unchanged rows, and 4 s for all of them once a week. Read-only.",
)

JOBS = [
    validation_job,
    integrity_job,
    verification_job,
    criteria_job,
    dg.define_asset_job(
        "validation_functional",
        selection=dg.AssetSelection.assets(functional_validation),
        description="The strategy's four scenarios on the running service. Writes synthetic rows and removes them.",
    ),
    dg.define_asset_job(
        "validation_load",
        selection=dg.AssetSelection.assets(load_test),
        description="50 concurrent extractions on the running service. Writes synthetic rows and removes them.",
    ),
]
