"""What an operator runs beside the phases: validation at any time, and on a schedule (strategy §9)."""

from typing import Any

import dagster as dg

from knowledge_migration.defs import backfill, cutover, preparation, reporting, schema
from knowledge_migration.defs.resources import Migration
from knowledge_migration.engine.validation.fingerprint_comparison import comparison_outcome
from knowledge_migration.engine.validation.value_verification import verification_outcome, verify


@dg.asset_check(asset="legacy_fingerprint")
def legacy_rows_equal_the_fingerprint(migration: Migration) -> dg.AssetCheckResult:
    """Every key range of the legacy tables is as fingerprinted. Warns only: users may have written since."""
    with reporting.as_dagster_failure(), migration.database.connect("fingerprint check") as connection:
        outcome = comparison_outcome(connection, sample=migration.settings.knowledge_migration_rules_sample)
    return reporting.check_result(outcome, asset="legacy_fingerprint", warns=True)


class VerificationConfig(dg.Config):
    """Whether everything is compared again, however lately that was done."""

    whole: bool = False


@dg.asset(group_name="operations", deps=["backfill_completion"], kinds={"postgres"})
def value_verification(
    context: dg.AssetExecutionContext, config: VerificationConfig, migration: Migration
) -> dg.MaterializeResult:
    """Every linked row against its proposal, value by value: what was written since the last pass, once a week the whole.

    Reads only. A difference is read again after a delay before it counts.
    """
    settings = migration.settings
    with reporting.as_dagster_failure():
        done = verify(
            migration.database,
            whole=config.whole,
            whole_every_days=settings.verification_whole_days,
            settle_seconds=settings.verification_settle_seconds,
            dagster_run_id=context.run.run_id,
        )
    rows = [one.as_row() for one in done.tables]
    metadata: dict[str, Any] = {
        "tables": reporting.rows_table(rows),
        "compared_rows": sum(one.compared for one in done.tables),
        "differing_rows": sum(len(one.differing) for one in done.tables),
        "last_whole_pass": done.whole_at.isoformat(sep=" ", timespec="seconds"),
    }
    return dg.MaterializeResult(metadata=metadata | ({"why_the_whole": done.why_whole} if done.why_whole else {}))


@dg.asset_check(asset=value_verification, blocking=True)
def no_value_differs(migration: Migration) -> dg.AssetCheckResult:
    """The latest value verification is fresh and found no row that differs from its proposal."""
    with reporting.as_dagster_failure(), migration.database.connect("verification check") as connection:
        outcome = verification_outcome(
            connection,
            max_age_hours=migration.settings.verification_max_age_hours,
            sample=migration.settings.knowledge_migration_rules_sample,
        )
    return reporting.check_result(outcome, asset="value_verification")


validation_job = dg.define_asset_job(
    "validation",
    selection=dg.AssetSelection.checks(
        *preparation.CHECKS, *schema.CHECKS, *backfill.CHECKS, legacy_rows_equal_the_fingerprint
    ),
    description="Every check, as things stand now. Reads only.",
)
integrity_job = dg.define_asset_job(
    "validate_integrity",
    selection=cutover.INTEGRITY,
    description="Every integrity rule that a promotion asks for, as things stand now. Reads only.",
)
verification_job = dg.define_asset_job(
    "verify_values",
    selection=dg.AssetSelection.assets(value_verification),
    description="Values compared again where something was written since the last pass. Reads only.",
)

hourly_integrity = dg.ScheduleDefinition(
    name="hourly_integrity",
    job=integrity_job,
    cron_schedule="10 * * * *",
    execution_timezone="UTC",
    description=(
        "Ten past every hour; switch it on before the cutover, which asks for checks of the last hour. Costs 12 s of a "
        "core for a million rows. Reads only."
    ),
)
nightly_value_verification = dg.ScheduleDefinition(
    name="nightly_value_verification",
    job=verification_job,
    cron_schedule="30 1 * * *",
    execution_timezone="UTC",
    description=(
        "At 1:30 UTC; switch it on after the backfill. Costs 0.4 s for a million rows of which none was written since, 4 s "
        "for the whole of them once a week. Reads only."
    ),
)

ASSETS = [value_verification]
CHECKS = [legacy_rows_equal_the_fingerprint, no_value_differs]
JOBS = [validation_job, integrity_job, verification_job]
SCHEDULES = [hourly_integrity, nightly_value_verification]
