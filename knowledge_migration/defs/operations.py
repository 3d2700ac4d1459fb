"""What an operator runs beside the phases: validation at any time (strategy §9)."""

import dagster as dg

from knowledge_migration.defs import backfill, preparation, reporting, schema
from knowledge_migration.defs.resources import Migration
from knowledge_migration.engine.preparation.fingerprint_comparison import comparison_outcome


@dg.asset_check(asset="legacy_fingerprint")
def legacy_rows_equal_the_fingerprint(migration: Migration) -> dg.AssetCheckResult:
    """Every key range of the legacy tables is as fingerprinted. Warns only: users may have written since."""
    with reporting.failing_clearly(), migration.database.connect("fingerprint check") as connection:
        outcome = comparison_outcome(connection, sample=migration.settings.knowledge_migration_rules_sample)
    return reporting.check_result(outcome, asset="legacy_fingerprint", warns=True)


validation_job = dg.define_asset_job(
    "validation",
    selection=dg.AssetSelection.checks(
        *preparation.CHECKS, *schema.CHECKS, *backfill.CHECKS, legacy_rows_equal_the_fingerprint
    ),
    description="Every check, as things stand now. Reads only.",
)

CHECKS = [legacy_rows_equal_the_fingerprint]
JOBS = [validation_job]
