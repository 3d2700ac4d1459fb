"""What an operator runs beside the phases: validation at any time, and the ways back (strategy §8, §9)."""

from typing import Any

import dagster as dg

from knowledge_migration.defs import backfill, dual_write, preparation, reporting, schema
from knowledge_migration.defs.resources import Migration
from knowledge_migration.engine.backfill import rollback
from knowledge_migration.engine.preparation.fingerprint_comparison import comparison_outcome
from knowledge_migration.engine.schema.rollback import rollback_schema


@dg.asset_check(asset="legacy_fingerprint")
def legacy_rows_equal_the_fingerprint(migration: Migration) -> dg.AssetCheckResult:
    """Every key range of the legacy tables is as fingerprinted. Warns only: users may have written since."""
    with reporting.failing_clearly(), migration.database.connect("fingerprint check") as connection:
        outcome = comparison_outcome(connection, sample=migration.settings.knowledge_migration_rules_sample)
    return reporting.check_result(outcome, asset="legacy_fingerprint", warns=True)


class RollbackConfig(dg.Config):
    """Why something is taken back; it goes to the audit log."""

    reason: str


class SchemaRollbackConfig(RollbackConfig):
    """Where proposals that exist nowhere else are exported to; without it the rollback refuses to destroy them."""

    export_to: str | None = None


@dg.op
def remove_backfill(context: dg.OpExecutionContext, config: RollbackConfig, migration: Migration) -> None:
    """Unlinks and deletes what the backfill made, in batches."""
    with reporting.failing_clearly():
        undone = rollback.rollback_backfill(migration.database, reason=config.reason, dagster_run_id=context.run_id)
    context.add_output_metadata(
        {"unlinked": undone.unlinked_rows, "deleted": undone.deleted_proposals, "seconds": undone.seconds}
    )


@dg.op
def remove_schema(context: dg.OpExecutionContext, config: SchemaRollbackConfig, migration: Migration) -> None:
    """Takes the schema back to the evidence store."""
    from pathlib import Path

    with reporting.failing_clearly():
        undone = rollback_schema(
            migration.database,
            migration.lock_limits,
            reason=config.reason,
            export_to=Path(config.export_to) if config.export_to else None,
            dagster_run_id=context.run_id,
        )
    context.add_output_metadata({"seconds": undone.change.seconds, "exported_rows": undone.exported_rows})


@dg.job(name="rollback_backfill", description="Way back from phase 3: removes the backfill's proposals and links only.")
def rollback_backfill_job() -> None:
    """One op; see `engine.backfill.rollback`."""
    remove_backfill()


@dg.job(
    name="rollback_schema", description="Way back from phase 1; refuses to destroy proposals that exist nowhere else."
)
def rollback_schema_job() -> None:
    """One op; see `engine.schema_rollback`."""
    remove_schema()


validation_job = dg.define_asset_job(
    "validation",
    selection=dg.AssetSelection.checks(
        *preparation.CHECKS, *schema.CHECKS, *backfill.CHECKS, legacy_rows_equal_the_fingerprint
    ),
    description="Every check, as things stand now. Reads only.",
)

CHECKS = [legacy_rows_equal_the_fingerprint]
JOBS: list[Any] = [rollback_backfill_job, dual_write.rollback_dual_write_job, rollback_schema_job, validation_job]
