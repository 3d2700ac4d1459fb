"""The sensors of the cutover: promotion, the rollback guard, stragglers, automatic approval (strategy §6, §8.1).

Each tick reads the database again, so a restart of the daemon loses nothing; a cursor only suppresses repeated verdicts in the
UI. Ticks are short: their queries are bounded, and long work is a run.
"""

import json
from collections.abc import Iterable

import dagster as dg

from knowledge_migration.defs import backfill, cutover, reporting
from knowledge_migration.defs.resources import Migration
from knowledge_migration.defs.scheduling import NOT_AVAILABLE, why_skipped
from knowledge_migration.engine.backfill.completion import stragglers
from knowledge_migration.engine.cutover.evaluation import Evaluation, needed_for
from knowledge_migration.engine.cutover.readiness import Readiness, readiness
from knowledge_migration.engine.cutover.state import read_cutover_state
from knowledge_migration.engine.rollback.guard import guard
from knowledge_migration.engine.validation.integrity import recorded_integrity
from knowledge_migration.knowledge.flags import read_flags
from knowledge_migration.thresholds import Stage

STAGE_TAG, VERSION_TAG = "knowledge_migration/stage", "knowledge_migration/flag_version"
ATTEMPTS = 3
APPROVED_AT_ONCE = 500
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@dg.sensor(
    job=cutover.job,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Evaluates the gates and lists what is missing for the next stage; starts it only if automatic promotion "
        "is on. CUTOVER_AUTOMATIC_PROMOTION=true switches that on. It tries a stage three times, then it waits for "
        "a person."
    ),
)
def cutover_promotion(context: dg.SensorEvaluationContext, migration: Migration) -> dg.SensorResult:
    try:
        state = read_cutover_state(migration.database)
        stage = state.next_stage
        if stage is None:
            return dg.SensorResult(skip_reason=f"The cutover state is {state.state}; there is no stage to promote to.")
        ready = readiness(
            migration.database,
            migration.settings,
            stage,
            recorded_integrity(migration.database),
            now=migration.now(),
            ages_matter=False,
        )
    except NOT_AVAILABLE as error:
        return dg.SensorResult(skip_reason=why_skipped("The cutover cannot be evaluated", error))
    events, cursor = _news(ready.evaluations, _needed(migration, stage), context.cursor)
    version = ready.state.flags.version
    tags = {STAGE_TAG: stage, VERSION_TAG: str(version)}
    attempt = len(context.instance.get_run_records(dg.RunsFilter(job_name=cutover.JOB, tags=tags))) + 1
    if reason := _why_not(ready, attempt, automatic=migration.settings.cutover.automatic_promotion):
        return dg.SensorResult(skip_reason=reason, asset_events=events, cursor=cursor)
    request = dg.RunRequest(
        run_key=f"cutover-{stage}-{version}-{attempt}", job_name=cutover.JOB, partition_key=stage, tags=tags
    )
    return dg.SensorResult(run_requests=[request], asset_events=events, cursor=cursor)


def _why_not(ready: Readiness, attempt: int, *, automatic: bool) -> str | None:
    """Why the sensor does not start the stage; None where it does."""
    if ready.missing:
        listed = "\n".join(f"{number}. {missing.sentence}" for number, missing in enumerate(ready.missing, start=1))
        missing = f"{len(ready.missing)} of {len(ready.requirements)} requirements are missing"
        return f"{ready.stage} is not ready; {missing}:\n{listed}"
    if not automatic:
        launch = f"Launch {cutover.JOB} with the partition {ready.stage} to promote."
        return f"All requirements of {ready.stage} are met. {launch}"
    if attempt > ATTEMPTS:
        return f"{ready.stage} failed {ATTEMPTS} times. Check the runs of {cutover.JOB}, then launch it yourself."
    return None


@dg.sensor(
    asset_selection=dg.AssetSelection.assets(cutover.cutover_gates),
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Rolls back automatically when a metric is in breach (strategy §8.1), in this tick, without waiting for a "
        "run. Errors above 5 % or an inconsistency: proposals off, dual write on. More than 50 % slower: proposals "
        "for 10 % of users. A queue above 1,000: a lower threshold of automatic approval, down to its floor."
    ),
)
def rollback_guard(migration: Migration) -> dg.SensorResult:
    try:
        initial = migration.installation.initial_flags
        tick = guard(migration.database, initial, migration.settings, now=migration.now())
    except NOT_AVAILABLE as error:
        return dg.SensorResult(skip_reason=why_skipped("The guard cannot evaluate the metrics", error))
    return dg.SensorResult(skip_reason=" ".join(filter(None, (tick.message, tick.problem))))


@dg.sensor(
    job=backfill.completion_job,
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Starts the final sweep when rows without a proposal appear after the backfill: some process still writes "
        "directly."
    ),
)
def backfill_stragglers(migration: Migration) -> dg.SensorResult:
    minutes = migration.settings.dual_write.straggler_minutes
    try:
        with migration.database.connect("stragglers", settings={"statement_timeout": "30000"}) as connection:
            rows = stragglers(connection, minutes=minutes)
    except NOT_AVAILABLE as error:
        return dg.SensorResult(skip_reason=why_skipped("Stragglers cannot be counted", error))
    if rows is None:
        return dg.SensorResult(skip_reason="The backfill is not complete; it links every row itself.")
    if not rows.total:
        return dg.SensorResult(skip_reason=f"No row has been without a proposal for {minutes:g} minutes.")
    return dg.SensorResult(run_requests=[dg.RunRequest(run_key=f"stragglers-{rows.key}")])


@dg.op
def approve_eligible_proposals(context: dg.OpExecutionContext, migration: Migration) -> None:
    """Approves pending proposals that need no reviewer under the present flags, each in its own transaction."""
    from knowledge_migration.knowledge.proposals.auto_approval import approve_all_eligible, eligible

    with reporting.as_dagster_failure():
        with migration.database.begin() as transaction:
            flags = read_flags(transaction)
            proposal_ids = eligible(transaction, flags, APPROVED_AT_ONCE) if flags and flags.enabled else []
        if flags is None or not proposal_ids:
            context.log.info("No pending proposal may be approved without a reviewer.")
            return
        with migration.database.engine() as engine:
            approved = approve_all_eligible(engine, flags, proposal_ids, migration.installation.finder())
    context.add_output_metadata({"eligible": len(proposal_ids), "approved": approved})


@dg.job(description=approve_eligible_proposals.description)
def phase_4_auto_approval() -> None:
    """One op."""
    approve_eligible_proposals()


@dg.sensor(
    job=phase_4_auto_approval,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=("Starts a run when pending proposals need no reviewer any more, for example after a lower threshold."),
)
def auto_approval(context: dg.SensorEvaluationContext, migration: Migration) -> dg.SensorResult:
    from knowledge_migration.knowledge.proposals.auto_approval import eligible

    try:
        with migration.database.begin() as transaction:
            flags = read_flags(transaction)
            if flags is None or not flags.enabled:
                return dg.SensorResult(skip_reason="Proposals are off.")
            if not eligible(transaction, flags, 1):
                return dg.SensorResult(skip_reason="No pending proposal may be approved without a reviewer.")
    except NOT_AVAILABLE as error:
        return dg.SensorResult(skip_reason=why_skipped("Eligible proposals cannot be counted", error))
    active = dg.RunsFilter(job_name=phase_4_auto_approval.name, statuses=UNFINISHED)
    if context.instance.get_run_records(active, limit=1):
        return dg.SensorResult(skip_reason="A run approves proposals now.")
    return dg.SensorResult(run_requests=[dg.RunRequest(job_name=phase_4_auto_approval.name)])


def _needed(migration: Migration, stage: Stage | None) -> set[str]:
    return {gate.metric for gate in needed_for(migration.settings.cutover.gates, stage)} if stage else set()


def _news(
    evaluations: Iterable[Evaluation], needed: set[str], cursor: str | None
) -> tuple[list[dg.AssetCheckEvaluation], str]:
    """The evaluations whose verdict the UI does not show yet, as evaluations of their checks, and the new cursor."""
    shown: dict[str, str] = json.loads(cursor) if cursor else {}
    events = []
    for evaluation in evaluations:
        metric, verdict = evaluation.gate.metric, f"{evaluation.verdict}, {'met' if evaluation.met else 'not met'}"
        if shown.get(metric) == verdict:
            continue
        shown[metric] = verdict
        result = cutover.gate_result(evaluation, needed=metric in needed)
        events.append(
            dg.AssetCheckEvaluation(
                asset_key=dg.AssetKey("cutover_gates"),
                check_name=metric,
                passed=result.passed,
                severity=result.severity,
                description=result.description,
                metadata=result.metadata,
            )
        )
    return events, json.dumps(shown)
