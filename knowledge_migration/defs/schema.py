"""Phase 1, schema addition (strategy §3): proposal tables, links, and the check that no reader stalled."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import dagster as dg

from knowledge_migration.defs import guards, reporting
from knowledge_migration.defs.resources import Migration
from knowledge_migration.engine.foundation import progress
from knowledge_migration.engine.schema import phase as schema_phase
from knowledge_migration.engine.schema.ddl import StepResult
from knowledge_migration.engine.schema.steps import STEPS

GROUP = "phase_1_schema"


@dg.asset(
    group_name=GROUP,
    deps=["verified_backup", "data_quality_report", "performance_baseline", "staging_rehearsal"],
    kinds={"postgres"},
    check_specs=[guards.spec("proposal_schema")],
)
def proposal_schema(context: dg.AssetExecutionContext, migration: Migration) -> Iterator[Any]:
    """The tables of the proposal workflow, and the link columns on topics and atoms, which stay empty in this phase.

    Runs step by step with retries; each lock waits at most 100 ms. Builds indexes concurrently and validates references
    afterwards. Resumes after a crash at any point. Undo: job `rollback_schema` (target < 5 min).
    """
    yield from guards.guarded(migration, "proposal_schema")
    with reporting.as_dagster_failure(), migration.installation.preflight() as preconditions:
        migration.installation.require_rehearsed("phase 1", context.run.run_id)
        phase = schema_phase.run_schema_phase(
            preconditions,
            migration.settings.schema_change,
            backup_max_age_hours=migration.settings.preparation.backup_max_age_hours,
            dagster_run_id=context.run.run_id,
            on_step=partial(_report_step, context.log.info),
        )
    yield dg.MaterializeResult(
        metadata={
            "from_revision": phase.change.from_revision or "none",
            "to_revision": phase.change.to_revision or "none",
            "steps": reporting.rows_table([result.as_row() for result in phase.change.steps]),
            "seconds": phase.change.seconds,
            **{f"probe_{key}": reporting.plain(value) for key, value in phase.probe.to_evidence().items()},
        }
    )


def _report_step(log: Callable[[str], None], result: StepResult) -> None:
    log(f"{result.step.name}: {result.outcome.replace('_', ' ')} after {result.attempts} attempts")
    position = STEPS.index(result.step) + 1
    progress.report_progress(progress.Report("schema", result.step.name.split(".")[-1], position, len(STEPS), "steps"))


@dg.asset_check(asset=proposal_schema, blocking=True)
def schema_matches_the_declaration(migration: Migration) -> dg.AssetCheckResult:
    """Every table, column, index (valid) and constraint (validated) is as declared."""
    with reporting.as_dagster_failure():
        outcome = schema_phase.schema_outcome(migration.database, migration.settings.validation.rules_sample)
    return migration.check_result(outcome, asset="proposal_schema")


@dg.asset_check(asset=proposal_schema, blocking=True)
def no_reader_stalled(migration: Migration) -> dg.AssetCheckResult:
    """No reader of the live tables stalled beyond the limit while the schema changed."""
    with reporting.as_dagster_failure(), migration.database.connect("stall check") as connection:
        outcome = schema_phase.stall_outcome(connection, migration.settings.schema_change.reader_stall_limit_ms)
    return migration.check_result(outcome, asset="proposal_schema")


job = dg.define_asset_job(
    "phase_1_schema",
    selection=dg.AssetSelection.groups(GROUP) | dg.AssetSelection.assets("performance_comparison"),
    description="Preflight again, then the schema step by step; compares performance afterwards. Undo: rollback_schema.",
)
