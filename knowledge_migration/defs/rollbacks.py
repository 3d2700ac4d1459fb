"""The rollback jobs (strategy §8): each records a reason, and is a command too (`knowledge-migration rollback`)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from knowledge_migration.defs import reporting
from knowledge_migration.defs.resources import Migration
from knowledge_migration.engine.rollback.backfill import rollback_backfill
from knowledge_migration.engine.rollback.dual_write import rollback_dual_write
from knowledge_migration.engine.rollback.flags import roll_back
from knowledge_migration.engine.rollback.full import rollback_full
from knowledge_migration.engine.rollback.schema import rollback_schema
from knowledge_migration.knowledge.stages import RollbackKind


class RollbackConfig(dg.Config):
    """The reason of a rollback."""

    reason: str = Field(
        default="launched in Dagster", description="Why, for example `errors since 14:05`; the audit log records it."
    )


class SchemaRollbackConfig(RollbackConfig):
    """Where proposals that exist nowhere else are saved."""

    export_to: str | None = Field(
        default=None,
        description="File for proposals that exist nowhere else, for example `/var/backups/proposals.jsonl`. Without it the "
        "rollback refuses to delete them.",
    )


class FullRollbackConfig(RollbackConfig):
    """What is done about rows that are only in the backup."""

    restore_missing: bool = Field(
        default=False,
        description="Inserts rows again that are only in the backup. By default they are counted: users delete rows too.",
    )


Run = Callable[[dg.OpExecutionContext, Any, Migration], dict[str, Any]]


def _job(rollback: str, op: str, run: Run, config: type[RollbackConfig] = RollbackConfig) -> dg.JobDefinition:
    """A job with one op, which calls `run(context, config, migration)` and reports its result; described by its docstring."""

    def call(context: dg.OpExecutionContext, config: RollbackConfig, migration: Migration) -> None:
        with reporting.as_dagster_failure():
            metadata = run(context, config, migration)
        context.add_output_metadata(metadata)

    call.__annotations__["config"] = config
    only_op = dg.op(name=op, description=run.__doc__)(call)

    @dg.job(name=f"rollback_{rollback}", description=run.__doc__)
    def job() -> None:
        only_op()

    return job


def _instant(context: dg.OpExecutionContext, config: RollbackConfig, migration: Migration) -> dict[str, Any]:
    """Rolls phase 4 back in seconds: proposals off for all users, dual write on."""
    return _by_flags("instant", context, config, migration)


def _partial(context: dg.OpExecutionContext, config: RollbackConfig, migration: Migration) -> dict[str, Any]:
    """Reduces phase 4 in seconds: proposals for 10 % of users only, dual write on."""
    return _by_flags("partial", context, config, migration)


def _by_flags(
    kind: RollbackKind, context: dg.OpExecutionContext, config: RollbackConfig, migration: Migration
) -> dict[str, Any]:
    log = context.log.info
    log(f"Setting the flags of the {kind} rollback.")
    result = roll_back(
        migration.database,
        migration.installation.initial_flags,
        migration.settings,
        kind,
        reason=config.reason,
        dagster_run_id=context.run_id,
        on_applied=lambda applied: log(
            f"Version {applied.after.version} of the flags, {applied.after.state}, is set after {applied.apply_seconds:.2f} s. "
            "Waiting until every live process acknowledges it."
        ),
        on_acknowledged=lambda seconds, processes: log(
            f"{processes} processes have acknowledged it after {seconds:.2f} s. Settling the pending proposals."
        ),
    )
    log(f"Done after {result.seconds or 0:.2f} s: {result.settled.sentence}.")
    before, after = result.before.values, result.after.values
    flags = [{"flag": name, "before": str(before[name]), "after": str(after[name])} for name in after]
    return {
        "flag_version": result.after.version,
        "state_before": result.before.state,
        "state": result.after.state,
        "flags": reporting.rows_table(flags),
        "seconds_until_set": result.apply_seconds,
        "seconds_until_acknowledged": result.acknowledged_seconds,
        "seconds": result.seconds,
        "processes": reporting.rows_table([{"process": process} for process in result.processes]),
        "proposals": reporting.rows_table(
            [
                {"kind": kind, "replayed": result.settled.replayed.get(kind, 0), "parked": count}
                for kind, count in result.settled.parked.items()
            ]
        ),
        "replayed": sum(result.settled.replayed.values()),
        "parked": sum(result.settled.parked.values()),
    }


def _dual_write(context: dg.OpExecutionContext, config: RollbackConfig, migration: Migration) -> dict[str, Any]:
    """Rolls phase 2 back: dual write off, its shadow proposals deleted; proposals that reviewers decided stay."""
    result = rollback_dual_write(
        migration.database,
        migration.installation.initial_flags,
        migration.settings.fence,
        reason=config.reason,
        limits=migration.settings.backfill,
        dagster_run_id=context.run_id,
    )
    return {**vars(result)}


def _backfill(context: dg.OpExecutionContext, config: RollbackConfig, migration: Migration) -> dict[str, Any]:
    """Rolls phase 3 back: deletes the backfill's proposals and links only, in batches."""
    result = rollback_backfill(
        migration.database, reason=config.reason, limits=migration.settings.backfill, dagster_run_id=context.run_id
    )
    return {**vars(result)}


def _schema(context: dg.OpExecutionContext, config: SchemaRollbackConfig, migration: Migration) -> dict[str, Any]:
    """Rolls phase 1 back to the evidence store; refuses to delete proposals that exist nowhere else."""
    result = rollback_schema(
        migration.database,
        migration.settings.schema_change,
        reason=config.reason,
        export_to=Path(config.export_to) if config.export_to else None,
        dagster_run_id=context.run_id,
    )
    return {"seconds": result.change.seconds, "exported_rows": result.exported_rows}


def _full(context: dg.OpExecutionContext, config: FullRollbackConfig, migration: Migration) -> dict[str, Any]:
    """Rolls everything back, online: flags, dual write, backfill, schema.

    Proposals that exist nowhere else are exported, rows written since the backup are kept, altered rows are repaired.
    """
    result = rollback_full(
        migration.database,
        migration.installation.full_rollback_options(restore_missing=config.restore_missing),
        reason=config.reason,
        dagster_run_id=context.run_id,
        on_step=lambda step: context.log.info(f"{step.name} ({step.seconds:.1f} s): {step.message}"),
        progress=context.log.info,
    )
    steps = [{"step": step.name, "seconds": round(step.seconds, 3), "result": step.message} for step in result.steps]
    return {
        "seconds": result.seconds,
        "within_ten_minutes": result.is_within_limit,
        "comparison": result.comparison.sentence,
        "steps": reporting.rows_table(steps),
        "repaired_rows": result.repair.changed,
    }


JOBS = [
    _job("instant", "set_flags_instant", _instant),
    _job("partial", "set_flags_partial", _partial),
    _job("dual_write", "remove_dual_write", _dual_write),
    _job("backfill", "remove_backfill", _backfill),
    _job("schema", "remove_schema", _schema, SchemaRollbackConfig),
    _job("full", "roll_everything_back", _full, FullRollbackConfig),
]
