"""Phase 4, cutover (strategy §6): the gates of a stage, the stage, and the job that checks before it promotes."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import dagster as dg
from pydantic import Field

from knowledge_migration.defs import guards, reporting
from knowledge_migration.defs.resources import Migration
from knowledge_migration.engine.cutover.evaluation import Evaluation, evaluate, history, needed_for
from knowledge_migration.engine.cutover.promotion import may_override, promote
from knowledge_migration.engine.cutover.readiness import gate_remedy, readiness
from knowledge_migration.engine.cutover.state import read_cutover_state
from knowledge_migration.engine.foundation.check_record import CheckRecord
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.observability import plots
from knowledge_migration.engine.validation.integrity import evaluate_integrity, recorded_integrity
from knowledge_migration.thresholds import GATES, STAGES, Stage

GROUP = "phase_4_cutover"
JOB = "phase_4_cutover"
PLOTTED = timedelta(days=14)

STAGE_PARTITIONS = dg.StaticPartitionsDefinition(list(STAGES))


@dg.asset(
    group_name=GROUP,
    partitions_def=STAGE_PARTITIONS,
    deps=["dual_write_mode", "backfill_completion"],
    check_specs=[
        guards.spec("cutover_gates"),
        *(dg.AssetCheckSpec(gate.metric, asset="cutover_gates", description=gate.meaning) for gate in GATES),
    ],
    kinds={"postgres"},
)
def cutover_gates(context: dg.AssetExecutionContext, migration: Migration) -> Iterator[Any]:
    """The verdict of every gate now, for the promotion to this partition's stage; every verdict is recorded.

    Reads, and writes verdicts only. A gate that the stage needs fails its check until it has enough consecutive passes;
    others warn. `cutover_stage` evaluates them again and decides. Change limits and samples with CUTOVER_GATES.
    """
    yield from guards.guarded(migration, "cutover_gates")
    stage: Stage = next(one for one in STAGES if one == context.partition_key)
    now = migration.now()
    with reporting.as_dagster_failure():
        evaluations = evaluate(
            migration.database,
            migration.settings.cutover.gates,
            read_cutover_state(migration.database),
            now=now,
            spacing_seconds=migration.settings.cutover.spacing_seconds,
            dagster_run_id=context.run.run_id,
        )
    needed = {gate.metric for gate in needed_for(migration.settings.cutover.gates, stage)}
    yield dg.MaterializeResult(
        metadata={
            "verdicts": reporting.rows_table([evaluation.as_row() for evaluation in evaluations]),
            "plot": _plot(migration, now),
        },
        check_results=migration.recorded(
            "cutover_gates", *(gate_result(one, needed=one.gate.metric in needed) for one in evaluations)
        ),
    )


def gate_result(evaluation: Evaluation, *, needed: bool) -> dg.AssetCheckResult:
    """An evaluation as a check, which passes only with enough consecutive passes; inconclusive does not pass."""
    row = {key: value for key, value in evaluation.as_row().items() if value is not None}
    detail = reporting.plain(evaluation.measurement.detail)
    what_to_do = {} if evaluation.met else {"what_to_do": gate_remedy(evaluation)}
    return dg.AssetCheckResult(
        check_name=evaluation.gate.metric,
        asset_key="cutover_gates",
        passed=evaluation.met,
        severity=dg.AssetCheckSeverity.ERROR if needed else dg.AssetCheckSeverity.WARN,
        description=evaluation.sentence,
        metadata={
            **row,
            "rule": evaluation.gate.meaning,
            "source": evaluation.gate.source,
            "detail": detail,
            **what_to_do,
        },
    )


def _plot(migration: Migration, now: datetime) -> dg.MarkdownMetadataValue:
    with migration.database.connect("gate history") as connection:
        frame = history(connection, now - PLOTTED)
    return reporting.picture(plots.verdicts_over_time(frame), "the verdicts of each gate over time")


class PromotionConfig(dg.Config):
    """The reason of a promotion, and of an override of missing requirements."""

    reason: str = Field(default="promoted in Dagster", description="Why; it is recorded in the audit log.")
    override_reason: str | None = Field(
        default=None,
        description="Promotes although requirements are missing, for this reason, for example `accepted by the on-call lead: "
        "low traffic at night`. It is recorded in the audit log. Order and live processes cannot be overridden.",
    )


@dg.asset(
    group_name=GROUP,
    partitions_def=STAGE_PARTITIONS,
    deps=[cutover_gates, "backfill_completion", "dual_write_mode", "proposal_schema"],
    check_specs=[guards.spec("cutover_stage")],
    kinds={"postgres"},
)
def cutover_stage(context: dg.AssetExecutionContext, config: PromotionConfig, migration: Migration) -> Iterator[Any]:
    """Promotes the cutover to this partition's stage: internal_beta (listed admins), gradual_rollout (50 %), full_cutover.

    Evaluates every requirement in this step (order, bake time, gates, integrity rules, verified backup, rollback drill) and
    lists what is missing. Sets the flags through the audited function and waits until every live process has acknowledged them.
    Undo: in seconds by job `rollback_instant` or `rollback_partial`, or `knowledge-migration rollback instant`, which needs no
    Dagster.
    """
    stage: Stage = next(one for one in STAGES if one == context.partition_key)
    with reporting.as_dagster_failure():
        evaluated = _integrity(context, migration)
        now = migration.now()
        ready = readiness(
            migration.database,
            migration.settings,
            stage,
            evaluated,
            now=now,
            dagster_run_id=context.run.run_id,
        )
    yield from guards.require(
        migration, "cutover_stage", ready.requirements, overridden=may_override(ready, config.override_reason)
    )
    with reporting.as_dagster_failure():
        done = promote(
            migration.database,
            migration.installation.initial_flags,
            migration.settings.fence,
            ready,
            reason=config.reason,
            override_reason=config.override_reason,
            admin_user_ids=migration.settings.flags.admin_user_ids or None,
            dagster_run_id=context.run.run_id,
        )
    yield dg.MaterializeResult(
        metadata={
            "flag_version": done.after.version,
            "state": done.after.state,
            "seconds_until_acknowledged": done.seconds,
            "live_writers": reporting.rows_table([{"process": one} for one in done.processes]),
            "overridden": ", ".join(done.overridden) or "nothing",
            "flags": reporting.rows_table([done.after.values]),
        }
    )


def _integrity(context: dg.AssetExecutionContext, migration: Migration) -> tuple[CheckRecord, ...]:
    """The integrity rules, evaluated now; without a proven fence they cannot be, and have no result."""
    try:
        evaluated = evaluate_integrity(
            migration.database,
            migration.settings,
            dagster_run_id=context.run.run_id,
            progress=context.log.debug,
        )
    except PreconditionError as error:
        context.log.warning(f"The integrity rules cannot be evaluated: {error}")
        return recorded_integrity(migration.database)
    now = migration.now()
    return tuple(one.record(now) for one in evaluated)


job = dg.define_asset_job(
    JOB,
    selection=dg.AssetSelection.assets(cutover_gates, cutover_stage),
    description=(
        "Evaluates the gates and every requirement, then promotes to the chosen stage, or fails with what is missing. "
        "Undo: in seconds by rollback_instant."
    ),
)
