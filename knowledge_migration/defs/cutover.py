"""Phase 4, cutover (strategy §6): the gates of a stage, the stage, and the job that checks before it promotes."""

from datetime import datetime, timedelta

import dagster as dg
from pydantic import Field

from knowledge_migration.defs import backfill, dual_write, reporting, schema
from knowledge_migration.defs.recorded_checks import recorded_checks
from knowledge_migration.defs.resources import Migration
from knowledge_migration.engine.cutover.evaluation import Evaluation, evaluate, history, needed_for
from knowledge_migration.engine.cutover.promotion import promote
from knowledge_migration.engine.cutover.readiness import Readiness, readiness
from knowledge_migration.engine.cutover.state import read_cutover_state
from knowledge_migration.engine.observability import plots
from knowledge_migration.engine.validation import rules
from knowledge_migration.thresholds import GATES, STAGES, Stage

GROUP = "phase_4_cutover"
JOB = "phase_4_cutover"
PLOTTED = timedelta(days=14)

STAGE_PARTITIONS = dg.StaticPartitionsDefinition(list(STAGES))

INTEGRITY_CHECKS: tuple[dg.AssetCheckKey, ...] = (
    *(
        dg.AssetCheckKey(dg.AssetKey("backfill_completion"), rule.name)
        for rule in rules.RULES
        if rule.severity == "error"
    ),
    *(dg.AssetCheckKey(dg.AssetKey("dual_write_mode"), rule.name) for rule in rules.DUAL_WRITE_RULES),
    dg.AssetCheckKey(dg.AssetKey("dual_write_mode"), "every_live_writer_dual_writes"),
    dg.AssetCheckKey(dg.AssetKey("proposal_schema"), "schema_matches_the_declaration"),
)
"""The checks that must be recent and SUCCEEDED for a promotion; the job runs them again."""


@dg.asset(
    group_name=GROUP,
    partitions_def=STAGE_PARTITIONS,
    deps=["dual_write_mode", "backfill_completion"],
    check_specs=[
        dg.AssetCheckSpec(gate.metric, asset="cutover_gates", blocking=True, description=gate.meaning) for gate in GATES
    ],
    kinds={"postgres"},
)
def cutover_gates(context: dg.AssetExecutionContext, migration: Migration) -> dg.MaterializeResult:
    """The verdict of every gate now, for the promotion to this partition's stage; every verdict is recorded.

    Reads, and writes verdicts only. A gate that the stage needs fails its check and stops the run until it has enough
    consecutive passes; others warn. Change limits and samples with CUTOVER_GATES.
    """
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
    return dg.MaterializeResult(
        metadata={
            "verdicts": reporting.rows_table([evaluation.as_row() for evaluation in evaluations]),
            "plot": _plot(migration, now),
        },
        check_results=[gate_result(one, needed=one.gate.metric in needed) for one in evaluations],
    )


def gate_result(evaluation: Evaluation, *, needed: bool) -> dg.AssetCheckResult:
    """An evaluation as a check, which passes only with enough consecutive passes; inconclusive does not pass."""
    row = {key: value for key, value in evaluation.as_row().items() if value is not None}
    detail = reporting.plain(evaluation.measurement.detail)
    return dg.AssetCheckResult(
        check_name=evaluation.gate.metric,
        asset_key="cutover_gates",
        passed=evaluation.met,
        severity=dg.AssetCheckSeverity.ERROR if needed else dg.AssetCheckSeverity.WARN,
        description=evaluation.sentence,
        metadata={**row, "source": evaluation.gate.source, "detail": detail},
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
    kinds={"postgres"},
)
def cutover_stage(
    context: dg.AssetExecutionContext, config: PromotionConfig, migration: Migration
) -> dg.MaterializeResult:
    """Promotes the cutover to this partition's stage: internal_beta (listed admins), gradual_rollout (50 %), full_cutover.

    Sets the flags through the audited function and waits until every live process has acknowledged them. Refused unless
    every requirement is met: order, bake time, gates, fresh integrity checks, verified backup, rollback drill; the failure
    lists what is missing. Launch `phase_4_cutover`, which runs the checks first. Undo: in seconds by job `rollback_instant` or
    `rollback_partial`, or `knowledge-migration rollback instant`, which needs no Dagster.
    """
    stage: Stage = next(one for one in STAGES if one == context.partition_key)
    with reporting.as_dagster_failure():
        ready = stage_readiness(migration, context.instance, stage, dagster_run_id=context.run.run_id)
        requirements = [{"met": one.met, "requirement": one.sentence} for one in ready.requirements]
        context.add_output_metadata({"requirements": reporting.rows_table(requirements)})
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
    return dg.MaterializeResult(
        metadata={
            "flag_version": done.after.version,
            "state": done.after.state,
            "seconds_until_acknowledged": done.seconds,
            "live_writers": reporting.rows_table([{"process": one} for one in done.processes]),
            "overridden": ", ".join(done.overridden) or "nothing",
            "flags": reporting.rows_table([done.after.values]),
        }
    )


def stage_readiness(
    migration: Migration,
    instance: dg.DagsterInstance,
    stage: Stage,
    *,
    ages_matter: bool = True,
    dagster_run_id: str | None = None,
) -> Readiness:
    """The requirements of a stage, with the integrity checks that this instance has recorded."""
    return readiness(
        migration.database,
        migration.settings,
        stage,
        list(recorded_checks(instance, INTEGRITY_CHECKS)),
        now=migration.now(),
        ages_matter=ages_matter,
        dagster_run_id=dagster_run_id,
    )


INTEGRITY = dg.AssetSelection.checks(
    backfill.integrity_checks,
    dual_write.dual_write_checks,
    dual_write.every_live_writer_dual_writes,
    schema.schema_matches_the_declaration,
)

job = dg.define_asset_job(
    JOB,
    selection=dg.AssetSelection.assets(cutover_gates, cutover_stage) | INTEGRITY,
    description=(
        "Runs the integrity checks and gates again, then promotes to the chosen stage, or fails with what is missing. "
        "Undo: in seconds by rollback_instant."
    ),
)
