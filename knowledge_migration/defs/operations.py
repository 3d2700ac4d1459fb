"""Validation at any time and on a schedule, independent of the phases (strategy §9)."""

from typing import Any

import dagster as dg

from knowledge_migration.defs import backfill, cutover, preparation, reporting, schema
from knowledge_migration.defs.resources import Migration
from knowledge_migration.engine.validation.value_verification import fingerprint_outcome, verification_outcome, verify


@dg.asset_check(asset="legacy_fingerprint")
def legacy_rows_equal_the_fingerprint(migration: Migration) -> dg.AssetCheckResult:
    """Every key range of the legacy tables equals the fingerprint. Warns only: users may have written since."""
    with reporting.as_dagster_failure(), migration.database.connect("fingerprint check") as connection:
        outcome = fingerprint_outcome(connection, sample=migration.settings.validation.rules_sample)
    return reporting.check_result(outcome, asset="legacy_fingerprint", warns=True)


class VerificationConfig(dg.Config):
    """Whether the whole tables are compared, regardless of the last pass."""

    whole: bool = False


@dg.asset(group_name="operations", deps=["backfill_completion"], kinds={"postgres"})
def value_verification(
    context: dg.AssetExecutionContext, config: VerificationConfig, migration: Migration
) -> dg.MaterializeResult:
    """Compares every linked row written since the last pass with its proposal, value by value; once a week all rows.

    Reads only. A difference counts when a second reading after a delay confirms it.
    """
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
    return dg.MaterializeResult(metadata=metadata | ({"why_whole_tables": done.why_whole} if done.why_whole else {}))


@dg.asset_check(asset=value_verification, blocking=True)
def no_value_differs(migration: Migration) -> dg.AssetCheckResult:
    """The latest value verification is fresh and found no row that differs from its proposal."""
    with reporting.as_dagster_failure(), migration.database.connect("verification check") as connection:
        outcome = verification_outcome(
            connection,
            max_age_hours=migration.settings.verification.max_age_hours,
            sample=migration.settings.validation.rules_sample,
        )
    return reporting.check_result(outcome, asset="value_verification")


validation_job = dg.define_asset_job(
    "validation",
    selection=dg.AssetSelection.checks(
        *preparation.CHECKS, *schema.CHECKS, *backfill.CHECKS, legacy_rows_equal_the_fingerprint
    ),
    description="All checks, evaluated now. Read-only.",
)
integrity_job = dg.define_asset_job(
    "validate_integrity",
    selection=cutover.INTEGRITY,
    description="All integrity rules that a promotion requires, evaluated now. Read-only.",
)
verification_job = dg.define_asset_job(
    "verify_values",
    selection=dg.AssetSelection.assets(value_verification),
    description="Compares the values of rows written since the last pass. Read-only.",
)

hourly_integrity = dg.ScheduleDefinition(
    name="hourly_integrity",
    job=integrity_job,
    cron_schedule="10 * * * *",
    execution_timezone="UTC",
    description=(
        "Ten past every hour. Enable it before the cutover, which requires checks of the last hour. Costs 12 s of CPU time "
        "for a million rows. Read-only."
    ),
)
nightly_value_verification = dg.ScheduleDefinition(
    name="nightly_value_verification",
    job=verification_job,
    cron_schedule="30 1 * * *",
    execution_timezone="UTC",
    description=(
        "At 1:30 UTC. Enable it after the backfill. Costs 0.4 s for a million unchanged rows, and 4 s for all of them once a "
        "week. Read-only."
    ),
)

ASSETS = [value_verification]
CHECKS = [legacy_rows_equal_the_fingerprint, no_value_differs]
JOBS = [validation_job, integrity_job, verification_job]
SCHEDULES = [hourly_integrity, nightly_value_verification]
