"""The ways back as jobs (strategy §8): each asks for a reason, and is a command too (`knowledge-migration rollback`)."""

import dagster as dg

from knowledge_migration.defs import reporting
from knowledge_migration.defs.resources import Migration
from knowledge_migration.engine.rollback import backfill as backfill_rollback
from knowledge_migration.engine.rollback.dual_write import rollback_dual_write
from knowledge_migration.engine.rollback.flags import roll_back
from knowledge_migration.engine.rollback.full import rollback_full
from knowledge_migration.engine.rollback.schema import rollback_schema
from knowledge_migration.knowledge.stages import RollbackKind


class RollbackConfig(dg.Config):
    """Why something is taken back; it goes to the audit log."""

    reason: str


class SchemaRollbackConfig(RollbackConfig):
    """Where proposals that exist nowhere else are exported to; without it the rollback refuses to destroy them."""

    export_to: str | None = None


def _by_flags(way: RollbackKind, words: str) -> dg.JobDefinition:
    @dg.op(name=f"set_flags_{way}", description=words)
    def change(context: dg.OpExecutionContext, config: RollbackConfig, migration: Migration) -> None:
        with reporting.as_dagster_failure():
            done = roll_back(
                migration.database,
                migration.installation.initial_flags,
                migration.settings,
                way,
                reason=config.reason,
                dagster_run_id=context.run_id,
            )
        context.add_output_metadata(
            {
                "flag_version": done.after.version,
                "state": done.after.state,
                "seconds_until_all_obeyed": done.acknowledged_seconds,
                "live_processes": len(done.processes),
                "replayed": done.settled.replayed,
                "parked": done.settled.parked,
            }
        )

    @dg.job(name=f"rollback_{way}", description=words)
    def job() -> None:
        change()

    return job


@dg.op
def remove_dual_write(context: dg.OpExecutionContext, config: RollbackConfig, migration: Migration) -> None:
    """Switches dual write off and removes its shadows."""
    with reporting.as_dagster_failure():
        undone = rollback_dual_write(
            migration.database,
            migration.installation.initial_flags,
            migration.settings.fence,
            reason=config.reason,
            limits=migration.settings.backfill,
            dagster_run_id=context.run_id,
        )
    context.add_output_metadata(reporting.plain(vars(undone)))


@dg.op
def remove_backfill(context: dg.OpExecutionContext, config: RollbackConfig, migration: Migration) -> None:
    """Unlinks and deletes what the backfill made, in batches."""
    with reporting.as_dagster_failure():
        undone = backfill_rollback.rollback_backfill(
            migration.database, reason=config.reason, dagster_run_id=context.run_id
        )
    context.add_output_metadata(
        {"unlinked": undone.unlinked_rows, "deleted": undone.deleted_proposals, "seconds": undone.seconds}
    )


@dg.op
def remove_schema(context: dg.OpExecutionContext, config: SchemaRollbackConfig, migration: Migration) -> None:
    """Takes the schema back to the evidence store."""
    from pathlib import Path

    with reporting.as_dagster_failure():
        undone = rollback_schema(
            migration.database,
            migration.settings.schema_change,
            reason=config.reason,
            export_to=Path(config.export_to) if config.export_to else None,
            dagster_run_id=context.run_id,
        )
    context.add_output_metadata({"seconds": undone.change.seconds, "exported_rows": undone.exported_rows})


class FullRollbackConfig(RollbackConfig):
    """Whether rows that are only in the backup are brought back; users delete rows too, so by default they are counted."""

    restore_missing: bool = False


@dg.op
def take_everything_back(context: dg.OpExecutionContext, config: FullRollbackConfig, migration: Migration) -> None:
    """Flags, dual write, backfill, schema; then the legacy tables are held against the backup and repaired."""
    with reporting.as_dagster_failure():
        done = rollback_full(
            migration.database,
            migration.installation.full_rollback_options(restore_missing=config.restore_missing),
            reason=config.reason,
            dagster_run_id=context.run_id,
            on_step=lambda step: context.log.info(f"{step.name} ({step.seconds:.1f} s): {step.words}"),
            progress=context.log.info,
        )
    steps = [{"step": one.name, "seconds": round(one.seconds, 3), "what": one.words} for one in done.steps]
    context.add_output_metadata(
        {
            "seconds": done.seconds,
            "within_ten_minutes": done.is_within_bound,
            "comparison": done.comparison.sentence,
            "steps": reporting.rows_table(steps),
            "repaired_rows": done.repair.changed,
        }
    )


@dg.job(
    name="rollback_full",
    description=(
        "Way back from everything, online: flags, dual write, backfill, schema; proposals that exist nowhere else are "
        "exported, rows written since the backup are kept, what differs from it is repaired."
    ),
)
def rollback_full_job() -> None:
    """One op; see `engine.restore.full_rollback`."""
    take_everything_back()


@dg.job(
    name="rollback_dual_write",
    description="Way back from phase 2: dual write off, its shadow proposals removed; what reviewers decided stays.",
)
def rollback_dual_write_job() -> None:
    """One op; see `engine.dual_write.rollback`."""
    remove_dual_write()


@dg.job(name="rollback_backfill", description="Way back from phase 3: removes the backfill's proposals and links only.")
def rollback_backfill_job() -> None:
    """One op; see `engine.backfill.rollback`."""
    remove_backfill()


@dg.job(
    name="rollback_schema", description="Way back from phase 1; refuses to destroy proposals that exist nowhere else."
)
def rollback_schema_job() -> None:
    """One op; see `engine.schema.rollback`."""
    remove_schema()


JOBS = [
    _by_flags("instant", "Way back from phase 4, in seconds: proposals off for everyone, dual write on."),
    _by_flags("partial", "Way back from phase 4, in seconds: proposals for a tenth of the users only, dual write on."),
    rollback_dual_write_job,
    rollback_backfill_job,
    rollback_schema_job,
    rollback_full_job,
]
